/** For React pages: the same call as a component. What is heavy is loaded when somebody is about to click. */

import { type RefObject, useEffect, useRef } from "react";

import { defineGreenroomTalk, type GreenroomTalkElement } from "./element";
import type { EmbedListener } from "./messages";

type State = Parameters<EmbedListener["onState"]>[0];
type Caption = Parameters<EmbedListener["onCaption"]>[0];

export type { Caption as TalkCaption, State as TalkState };
export { defineGreenroomTalk, type GreenroomTalkElement };

export interface TalkButtonProps {
  /** Origin of the Greenroom server, such as `https://greenroom.example.com`. */
  server: string;
  /** What to present to it as a bearer, where callers must present something. */
  bearer?: () => string | null;
  label?: string;
  theme?: "light" | "dark";
  userId?: string;
  userName?: string;
  language?: string;
  voice?: string;
  className?: string;
  onState?: (state: State) => void;
  onCaption?: (caption: Caption) => void;
}

export function TalkButton(props: TalkButtonProps) {
  const element = useRef<GreenroomTalkElement>(null);
  const latest = useRef(props);

  useEffect(() => {
    latest.current = props;
  });

  useEffect(() => {
    const talk = element.current;
    if (!talk) return;
    defineGreenroomTalk(() => import("./panel"), location.origin);
    talk.bearer = () => latest.current.bearer?.() ?? null;
    const state = (event: Event): void => latest.current.onState?.((event as CustomEvent<State>).detail);
    const caption = (event: Event): void => latest.current.onCaption?.((event as CustomEvent<Caption>).detail);
    talk.addEventListener("greenroom-state", state);
    talk.addEventListener("greenroom-caption", caption);
    return () => {
      talk.removeEventListener("greenroom-state", state);
      talk.removeEventListener("greenroom-caption", caption);
    };
  }, []);

  return (
    <greenroom-talk
      ref={element}
      server={props.server}
      label={props.label}
      theme={props.theme}
      user-id={props.userId}
      user-name={props.userName}
      language={props.language}
      voice={props.voice}
      class={props.className}
    />
  );
}

interface TalkAttributes {
  ref: RefObject<GreenroomTalkElement | null>;
  server: string;
  label: string | undefined;
  theme: string | undefined;
  "user-id": string | undefined;
  "user-name": string | undefined;
  language: string | undefined;
  voice: string | undefined;
  class: string | undefined;
}

declare module "react" {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- how React's own types are told of an element
  namespace JSX {
    interface IntrinsicElements {
      "greenroom-talk": TalkAttributes;
    }
  }
}
