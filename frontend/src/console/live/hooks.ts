import { useStore } from "../data/store";
import { useConsole } from "../shell/context";
import { useNowMs } from "./clock";
import { type Connection, connectionOf, serverNow } from "./state";

export function useConnection(): Connection {
  const { live } = useConsole();
  const nowMs = useNowMs();
  return useStore(live, (state) => connectionOf(state, nowMs));
}

/** The server's time in Unix seconds, anew each second; it stands still when nothing comes. */
export function useServerNow(): number | null {
  const { live } = useConsole();
  const nowMs = useNowMs();
  return useStore(live, (state) => serverNow(state, nowMs));
}
