// Builds the embedded call, beside what `vite build` has written: its panel (hashed, loaded when wanted), /embed.js
// that knows the panel's name, and a module for React pages that brings its own panel.
import react from "@vitejs/plugin-react";
import { build } from "vite";

const OUT = process.env.OUT_DIR ?? "dist";

function write(options, define = {}) {
  return build({
    configFile: false,
    logLevel: "warn",
    plugins: [react()],
    define: { "process.env.NODE_ENV": JSON.stringify("production"), ...define },
    publicDir: false,
    build: {
      outDir: OUT,
      emptyOutDir: false,
      target: "es2022",
      cssTarget: ["chrome123", "firefox120", "safari17.5"],
      modulePreload: false,
      chunkSizeWarningLimit: 1000,
      ...options,
    },
  });
}

const panel = await write({
  rolldownOptions: {
    input: "src/embed/panel.tsx",
    preserveEntrySignatures: "strict",
    output: { codeSplitting: false, entryFileNames: "assets/embed-panel-[hash].js" },
  },
});

await write(
  { lib: { entry: "src/embed/plain.ts", formats: ["iife"], name: "GreenroomTalk", fileName: () => "embed.js" } },
  { PANEL_FILE: JSON.stringify(panel.output[0].fileName) },
);

await write({
  lib: { entry: "src/embed/index.tsx", formats: ["es"], fileName: () => "embed/index.js" },
  rolldownOptions: {
    external: ["react", "react/jsx-runtime", "react-dom", "react-dom/client"],
    output: { chunkFileNames: "embed/[name]-[hash].js" },
  },
});
