import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["*.test.ts"],
    root: fileURLToPath(new URL(".", import.meta.url)),
    globalSetup: "./cluster.ts",
    fileParallelism: false, // one of them kills a node
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
