import { LabIcon } from "@jupyterlab/ui-components";

/** A run that comes back to where it was: an arrow around a kept point. `jp-icon3` takes the colour of the theme. */
const SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M12 3.5a8.5 8.5 0 1 1-8.06 5.8l1.9.64A6.5 6.5 0 1 0 12 5.5v3.25L7.25 4.6 12 .5z"/>
    <circle cx="12" cy="12" r="3.25"/>
  </g>
</svg>`;

export const runsIcon = new LabIcon({ name: "durable-nb:runs", svgstr: SVG });
