/** The user's microphone: asked for, and why it is not there. */

import type { MicrophoneTrouble } from "./words";

export interface Microphones {
  /** Asks the user. Call it within the click. Rejects with a `MicrophoneError`. */
  open(device: Device | null): Promise<MediaStreamTrack>;
}

export interface Device {
  id: string;
  /** The user has named it: better none than another. */
  exactly: boolean;
}

export class MicrophoneError extends Error {
  constructor(readonly trouble: MicrophoneTrouble) {
    super(trouble);
  }
}

export function browserMicrophones(devices: MediaDevices | undefined = mediaDevices()): Microphones {
  return {
    async open(device) {
      if (!devices) throw new MicrophoneError("unsupported");
      const choice = device ? { deviceId: device.exactly ? { exact: device.id } : { ideal: device.id } } : {};
      const audio = { ...choice, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
      try {
        const [track] = (await devices.getUserMedia({ audio })).getAudioTracks();
        if (!track) throw new MicrophoneError("absent");
        return track;
      } catch (error) {
        throw error instanceof MicrophoneError ? error : new MicrophoneError(troubleOf(error));
      }
    },
  };
}

export function troubleOf(error: unknown): MicrophoneTrouble {
  switch (error instanceof Error ? error.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return "denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "absent";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    default:
      return "failed";
  }
}

/** Undefined on pages that are not secure, whatever the types say. */
function mediaDevices(): MediaDevices | undefined {
  return (navigator as Partial<Navigator>).mediaDevices;
}
