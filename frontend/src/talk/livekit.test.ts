import type * as livekitClient from "livekit-client";
import { ConnectionState } from "livekit-client";
import { afterEach, expect, it, vi } from "vitest";

import { livekitRooms } from "./livekit";
import type { RoomHandlers } from "./room";

const livekit = vi.hoisted(() => ({
  log: [] as string[],
  publish: () => Promise.resolve(),
  state: "connected",
}));

vi.mock("livekit-client", async (original) => ({
  ...(await original<typeof livekitClient>()),
  Room: class {
    remoteParticipants = new Map();
    canPlaybackAudio = true;
    localParticipant = {
      getTrackPublication: () => undefined,
      publishTrack: async () => {
        livekit.log.push("publish");
        await livekit.publish();
        livekit.log.push("published");
      },
      unpublishTrack: () => Promise.resolve(void livekit.log.push("unpublish")),
    };
    get state() {
      return livekit.state;
    }
    on() {
      return this;
    }
    registerTextStreamHandler() {
      return undefined;
    }
    connect() {
      return Promise.resolve();
    }
  },
  LocalAudioTrack: class {
    replaceTrack() {
      return Promise.resolve(void livekit.log.push("replace"));
    }
  },
}));

afterEach(() => {
  livekit.log.length = 0;
  livekit.publish = () => Promise.resolve();
  livekit.state = ConnectionState.Connected;
});

const TRACK = {} as MediaStreamTrack;

async function joined() {
  const microphoneFailed = vi.fn();
  const handlers = { joined: vi.fn(), audioBlocked: vi.fn(), microphoneFailed } as unknown as RoomHandlers;
  const room = livekitRooms.open(handlers);
  await room.connect("ws://livekit", "secret");
  return { room, microphoneFailed };
}

it("changes the microphone only after it is published", async () => {
  const { room } = await joined();
  let published = (): void => undefined;
  livekit.publish = () => new Promise<void>((resolve) => (published = resolve));
  void room.setMicrophone(TRACK);
  const changed = room.setMicrophone(TRACK);
  const dropped = room.setMicrophone(null);
  await vi.waitUntil(() => livekit.log.length > 0);
  expect(livekit.log).toEqual(["publish"]);
  published();
  await Promise.all([changed, dropped]);
  expect(livekit.log).toEqual(["publish", "published", "replace", "unpublish"]);
});

it("tells of a microphone that the room does not take, unless the room itself is lost", async () => {
  livekit.publish = () => Promise.reject(new Error("refused"));
  const lost = await joined();
  livekit.state = ConnectionState.Reconnecting;
  await lost.room.setMicrophone(TRACK);
  expect(lost.microphoneFailed).not.toHaveBeenCalled();
  livekit.state = ConnectionState.Connected;
  const { room, microphoneFailed } = await joined();
  await room.setMicrophone(TRACK);
  expect(microphoneFailed).toHaveBeenCalledTimes(1);
});
