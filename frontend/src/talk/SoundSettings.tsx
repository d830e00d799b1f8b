import { useMediaDeviceSelect } from "@livekit/components-react";
import { useId } from "react";

import { Select } from "../ui";
import type { ControlsProps } from "./Controls";

/** Which microphone, and how loud the agent is. */
export default function SoundSettings({ voice, volume, onDevice, onVolume }: ControlsProps) {
  const volumeId = useId();
  const { devices } = useMediaDeviceSelect({ kind: "audioinput", requestPermissions: false });
  // without a permission there are entries that name nothing
  const options = devices
    .filter((device) => device.deviceId !== "")
    .map((device, index) => ({ value: device.deviceId, label: device.label || `Microphone ${index + 1}` }));
  const found = options.length > 0;
  const none = voice.status === "on" ? "The microphone in use" : "No microphone found";

  return (
    <>
      <Select
        label="Microphone"
        options={found ? options : [{ value: "", label: none }]}
        value={voice.deviceId ?? options[0]?.value ?? ""}
        disabled={!found}
        onChange={onDevice}
      />
      <div className="gr-field">
        <label htmlFor={volumeId} className="gr-field-label">
          Volume
        </label>
        <input
          id={volumeId}
          className="gr-range"
          type="range"
          min={0}
          max={100}
          step={5}
          value={Math.round(volume * 100)}
          onChange={(event) => onVolume(Number(event.target.value) / 100)}
        />
      </div>
    </>
  );
}
