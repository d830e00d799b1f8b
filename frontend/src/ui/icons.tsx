import type { ReactNode } from "react";

/** Icons are decoration; the control that shows one has a name of its own. */
function icon(children: ReactNode) {
  return function Icon() {
    return (
      <svg className="gr-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
        {children}
      </svg>
    );
  };
}

export const MicIcon = icon(
  <>
    <rect x="9" y="3" width="6" height="11" rx="3" />
    <path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3" />
  </>,
);
export const MicOffIcon = icon(
  <>
    <path d="M15 10.5V6a3 3 0 0 0-5.9-.8M9 9.5V11a3 3 0 0 0 4.6 2.5M5.5 11.5a6.5 6.5 0 0 0 10 5.4M18.3 13.2c.1-.5.2-1.1.2-1.7M12 18v3M4 4l16 16" />
  </>,
);
export const SpeakerIcon = icon(
  <path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.7 7.7 0 0 1 0 11" />,
);
export const EndIcon = icon(
  <path d="M3.5 14.8c-.8-3.2 4-6.1 8.5-6.1s9.3 2.9 8.5 6.1c-.2.9-.9 1.3-1.8 1.1l-2.5-.5c-.7-.2-1.2-.7-1.2-1.4v-1.7a11.5 11.5 0 0 0-6 0V14c0 .7-.5 1.2-1.2 1.4l-2.5.5c-.9.2-1.6-.2-1.8-1.1z" />,
);
export const SendIcon = icon(<path d="M12 19V5M6 11l6-6 6 6" />);
export const SettingsIcon = icon(
  <>
    <path d="M4 7h9M17 7h3M4 17h3M11 17h9" />
    <circle cx="15" cy="7" r="2" />
    <circle cx="9" cy="17" r="2" />
  </>,
);
export const CloseIcon = icon(<path d="M6 6l12 12M18 6L6 18" />);
export const CheckIcon = icon(<path d="M5 12.5l4.5 4.5L19 7.5" />);
export const AlertIcon = icon(
  <path d="M12 8.5v4.5M12 16.5v.01M10.3 4.5L3.2 17a2 2 0 0 0 1.7 3h14.2a2 2 0 0 0 1.7-3L13.7 4.5a2 2 0 0 0-3.4 0z" />,
);
export const InfoIcon = icon(
  <>
    <circle cx="12" cy="12" r="8.5" />
    <path d="M12 11v5M12 8v.01" />
  </>,
);
export const ChevronDownIcon = icon(<path d="M6 9.5l6 6 6-6" />);
export const ChevronRightIcon = icon(<path d="M9.5 6l6 6-6 6" />);
export const ClockIcon = icon(
  <>
    <circle cx="12" cy="12" r="8.5" />
    <path d="M12 7v5l3.5 2" />
  </>,
);
export const SearchIcon = icon(
  <>
    <circle cx="11" cy="11" r="6.5" />
    <path d="M16 16l4 4" />
  </>,
);
export const ServerIcon = icon(
  <>
    <rect x="4" y="5" width="16" height="6" rx="1.5" />
    <rect x="4" y="13" width="16" height="6" rx="1.5" />
    <path d="M7.5 8v.01M7.5 16v.01" />
  </>,
);
export const PlusIcon = icon(<path d="M12 5v14M5 12h14" />);
export const MinusIcon = icon(<path d="M5 12h14" />);
export const RefreshIcon = icon(<path d="M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4.5V9H15" />);
export const WaveIcon = icon(<path d="M5 10v4M9 7v10M12 4.5v15M15 8v8M19 10.5v3" />);
