import { render, screen } from "@testing-library/react";
import { expect, test } from "vitest";

import { HOST } from "../testing";
import { HostRow } from "./HostRow";

function shown(host: typeof HOST) {
  const { container } = render(
    <table>
      <tbody>
        <HostRow host={host} withLoad={false} abilities={{ drain: false, undrain: false }} />
      </tbody>
    </table>,
  );
  return container;
}

test("how many agents it can have, and what limits it", () => {
  shown(HOST);
  expect(screen.getByTitle(/512 MiB in reserve/).textContent).toBe("5 / 25 by memory");
});

test("a host that does not say what limits it", () => {
  const container = shown({ ...HOST, capacityLimit: null, capacityReason: null });
  expect(container.textContent).toContain("5 / 25");
  expect(container.textContent).not.toContain("by ");
});
