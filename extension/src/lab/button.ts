import { button as plainButton } from "../panel/dom";

/** A button in the style of Lab; its click is not also one on the cell or the row around it. */
export function button(label: string, onClick: () => void, className = ""): HTMLButtonElement {
  const made = plainButton(label, `dnb-lab-button ${className}`.trim());
  made.addEventListener("click", (event) => {
    event.stopPropagation();
    onClick();
  });
  return made;
}
