import { lazy, Suspense, useId, useState } from "react";

import { Button, classes, EndIcon, MicIcon, MicOffIcon, SettingsIcon } from "../ui";
import type { VoiceView } from "./voice";

// what lists the devices is wanted by few: it is loaded when the settings are opened
const SoundSettings = lazy(() => import("./SoundSettings"));

export interface ControlsProps {
  voice: VoiceView;
  volume: number;
  onMute: (muted: boolean) => void;
  onOpenMicrophone: () => void;
  onDevice: (deviceId: string) => void;
  onVolume: (volume: number) => void;
  onEnd: () => void;
}

/** During a call: mute, sound settings, end. */
export function Controls(props: ControlsProps) {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <div className="gr-controls">
      {open ? (
        <div id={id} className="gr-sound" role="group" aria-label="Sound settings">
          <Suspense>
            {/* devices have names only once one is allowed: listed anew then */}
            <SoundSettings key={props.voice.status} {...props} />
          </Suspense>
        </div>
      ) : null}
      <div className="gr-controls-row" role="group" aria-label="Call">
        <MuteButton {...props} />
        <Button
          className={classes("gr-control", open && "gr-control-open")}
          icon={<SettingsIcon />}
          aria-expanded={open}
          aria-controls={open ? id : undefined}
          onClick={() => setOpen(!open)}
        >
          Sound
        </Button>
        <Button className="gr-control gr-control-end" icon={<EndIcon />} onClick={props.onEnd}>
          End call
        </Button>
      </div>
    </div>
  );
}

function MuteButton({ voice, onMute, onOpenMicrophone }: ControlsProps) {
  if (voice.status !== "on") {
    return (
      <Button className="gr-control" icon={<MicOffIcon />} busy={voice.status === "asking"} onClick={onOpenMicrophone}>
        Use microphone
      </Button>
    );
  }
  return (
    <Button
      className="gr-control"
      icon={voice.muted ? <MicOffIcon /> : <MicIcon />}
      aria-pressed={voice.muted}
      onClick={() => onMute(!voice.muted)}
    >
      {voice.muted ? "Muted" : "Mute"}
    </Button>
  );
}
