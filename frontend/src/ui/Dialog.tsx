import { type ReactNode, useEffect, useId, useRef } from "react";

import { IconButton } from "./Button";
import { classes } from "./classes";
import { CloseIcon } from "./icons";

export interface DialogProps {
  open: boolean;
  title: ReactNode;
  /** Escape, the close button, or a form inside with method="dialog". */
  onClose: () => void;
  actions?: ReactNode;
  wide?: boolean;
  className?: string;
  children: ReactNode;
}

/** The browser's own modal dialog: it keeps the focus inside, and gives it back. */
export function Dialog({ open, title, onClose, actions, wide = false, className, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();

  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open) dialog.current?.close();
  }, [open]);

  return (
    <dialog
      ref={dialog}
      className={classes("gr-dialog", wide && "gr-dialog-wide", className)}
      aria-labelledby={id}
      onClose={onClose}
    >
      {open ? (
        <>
          <div className="gr-dialog-head">
            <h2 id={id} className="gr-dialog-title">
              {title}
            </h2>
            <IconButton variant="ghost" size="sm" label="Close" icon={<CloseIcon />} onClick={onClose} />
          </div>
          <div className="gr-dialog-body">{children}</div>
          {actions ? <div className="gr-dialog-actions">{actions}</div> : null}
        </>
      ) : null}
    </dialog>
  );
}
