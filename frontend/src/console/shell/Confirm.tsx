import type { ReactNode } from "react";

import { Button, Dialog } from "../../ui";

interface ConfirmProps {
  open: boolean;
  title: string;
  /** What the act is called, on the button that does it. */
  act: string;
  onConfirm: () => void;
  onClose: () => void;
  children: ReactNode;
}

export function Confirm({ open, title, act, onConfirm, onClose, children }: ConfirmProps) {
  return (
    <Dialog
      open={open}
      title={title}
      onClose={onClose}
      className="c-confirm"
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button variant="danger" onClick={onConfirm}>
            {act}
          </Button>
        </>
      }
    >
      {children}
    </Dialog>
  );
}
