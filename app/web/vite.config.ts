import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// Two pages are built from here: vite build --mode page, or ring.
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// app is a page under base. Its files keep their names: a browser asks for each of them
// again each time, from whichever node, so no page names a file that another release lacks.
// While it is edited (scripts/web --dev) what it asks for goes to a cluster that runs.
const app = (name: "page" | "ring", base: string, asked: string) => ({
  root: here(name),
  base,
  server: {
    host: "127.0.0.1",
    proxy: { [asked]: { target: process.env.DEV_URL, ws: true, changeOrigin: false } },
  },
  esbuild: { jsx: "automatic" as const, jsxImportSource: "preact" },
  build: {
    outDir: here(`dist/${name}`),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // the policy allows no data: URLs
    rollupOptions: {
      output: {
        entryFileNames: "assets/[name].js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
});

export default defineConfig(({ mode }) => {
  switch (mode) {
    case "page":
      return app("page", "/", "^/(ws|sse)/");
    case "ring":
      return app("ring", "/ring/", "^/ring/(state|history|rooms)");
    default: // vitest
      return {
        esbuild: { jsx: "automatic", jsxImportSource: "preact" },
        test: { include: ["{sdk,page,ring}/test/**/*.test.{ts,tsx}"] },
      };
  }
});
