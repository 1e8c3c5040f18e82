# The node as one static binary in an empty image: no shell, no libc, no root.
#
#   docker build -t chatring:dev .
#   docker run --rm -p 127.0.0.1:8080:8080 -e CHATRING_AUTH_MODE=dev chatring:dev
#
# Needs BuildKit (the default builder of Docker and of Compose). A build machine
# behind a module proxy says so: --build-arg GOPROXY=… --build-arg GOFLAGS=…, and one
# behind a mirror of npm: --build-arg NPM_CONFIG_REGISTRY=…

ARG GO_IMAGE=golang:1.26-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim

# What browsers are given.
FROM ${NODE_IMAGE} AS web
# Unset, it leaves npm's own default alone.
ARG NPM_CONFIG_REGISTRY
WORKDIR /src
COPY app/web/package.json app/web/package-lock.json app/web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm \
    npm ci --no-audit --no-fund --loglevel=error
COPY app/web ./
RUN npm run --silent build

FROM ${GO_IMAGE} AS build
# Unset, they leave Go's own defaults alone.
ARG GOPROXY
ARG GOFLAGS
ARG GONOSUMDB
ARG GOPRIVATE
ENV CGO_ENABLED=0
WORKDIR /src

# The modules are a layer of their own: an edit in app/ does not fetch them again.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download

COPY app ./app
COPY --from=web /src/dist ./app/web/dist
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/chatring ./app

FROM scratch
# For what the node asks over TLS: rediss://, a JWKS address.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/chatring /chatring
# "nonroot" of the distroless images; a number, so that Kubernetes'
# runAsNonRoot can check it.
USER 65532:65532
ENV CHATRING_LISTEN=:8080 \
    CHATRING_OPS_LISTEN=:9090
EXPOSE 8080 9090
# 404 while the node drains, which is unhealthy on purpose: it wants no more work.
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 \
    CMD ["/chatring", "healthcheck"]
ENTRYPOINT ["/chatring"]
CMD ["serve"]
