import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const api = process.env["GREENROOM_API"] ?? "http://127.0.0.1:8080";

/** Serves console.html at /console, as the API does. */
function consoleAddress(): Plugin {
  const rewrite = (request: { url?: string | undefined }, _: unknown, next: () => void): void => {
    if (request.url === "/console" || request.url?.startsWith("/console?")) request.url = "/console.html";
    next();
  };
  return {
    name: "greenroom:console-address",
    configureServer: (server) => void server.middlewares.use(rewrite),
    configurePreviewServer: (server) => void server.middlewares.use(rewrite),
  };
}

const proxy = Object.fromEntries(
  ["/api", "/openapi.json", "/health", "/metrics"].map((path) => [path, { target: api }]),
);

export default defineConfig({
  plugins: [react(), consoleAddress()],
  server: { proxy },
  preview: { proxy },
  build: {
    target: "es2022",
    // these know light-dark(), which is how the design system names its colours
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // the content security policy allows no inline script and no data: font
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 600,
    rolldownOptions: {
      input: ["index.html", "console.html"],
      // changes less often than the pages do: a browser that was here before has it
      output: { codeSplitting: { groups: [{ name: "react", test: /node_modules\/(react|react-dom|scheduler)\// }] } },
    },
  },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.{ts,tsx}"],
    restoreMocks: true,
    setupFiles: ["src/test-setup.ts"],
  },
});
