import "../ui/fonts.css";
import "../ui/index.css";
import "./page.css";
import "./talk.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { createTalk } from "./setup";
import { TalkPage } from "./TalkPage";

const root = document.getElementById("root");
const talk = createTalk();
talk.call.open();
if (root) {
  createRoot(root).render(
    <StrictMode>
      <TalkPage talk={talk} />
    </StrictMode>,
  );
}
