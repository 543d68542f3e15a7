/**
 * Draws docs/dashboard.svg: the deployed dashboard's widgets, in place, with sample data, so that a reader sees
 * what to expect. `node scripts/draw-dashboard.ts > docs/dashboard.svg`
 */

import { widgets as widgetsOf } from '../deploy/dashboard.ts';

type Series = { label: string; colour: string; values: number[]; filled?: boolean };

const widgets = widgetsOf(undefined, false);

/** Twelve hours, a figure for each ten minutes. */
const POINTS = 73;
const series = (label: string, colour: string, value: (hour: number) => number, filled = false): Series => ({
  label,
  colour,
  filled,
  values: Array.from({ length: POINTS }, (_, index) => value((index / (POINTS - 1)) * 12)),
});

/** Noise that is the same each time: between -1 and 1. */
const noise = (hour: number, seed: number) => Math.sin(hour * 37 + seed) * Math.cos(hour * 23 + seed * 3);

const blue = '#1f77b4';
const orange = '#ff7f0e';
const green = '#2ca02c';
const red = '#d62728';
const grey = '#7f7f7f';

/** A migration that is ready after eight hours and complete after ten, and a smaller one at the same time. */
const data: Record<string, Series[]> = {
  'Replication lag': [
    series('…e6df43d0', blue, (h) =>
      h < 1 || h > 9.5 ? Number.NaN : Math.max(1, 5400 * ((8 - h) / 7) + 150 * noise(h, 1)),
    ),
    series('…e6df43d1', orange, (h) =>
      h < 3 || h > 7 ? Number.NaN : Math.max(1, 1800 * ((6 - h) / 3) + 60 * noise(h, 2)),
    ),
  ],
  'Ready for cutover': [
    series('…e6df43d0', blue, (h) => (h > 8 && h < 9.5 ? 1 : 0)),
    series('…e6df43d1', orange, (h) => (h > 6 && h < 7 ? 1 : 0)),
  ],
  'Requests by outcome': [
    series('Answered', green, (h) => 10 + noise(h, 3), true),
    series('AtlasUnavailable', red, (h) => (h > 4.3 && h < 4.9 ? 5 : 0), true),
  ],
  'Latency of Atlas': [
    series('p50', blue, (h) => 95 + 6 * noise(h, 4)),
    series('p99', orange, (h) => 260 + 40 * noise(h, 5) + (h > 4.2 && h < 5 ? 900 : 0)),
  ],
  'Answers and requests to Atlas': [
    series('answers', green, (h) => 10 + noise(h, 3) - (h > 4.3 && h < 4.9 ? 5 : 0)),
    series('requests to Atlas', blue, (h) => 19 + 1.5 * noise(h, 6)),
    series('reads of the secret', orange, (h) => 2 + 0.3 * noise(h, 7)),
    series('old secret used', red, () => 0),
  ],
  'The function': [
    series('calls', blue, (h) => 11 + noise(h, 8)),
    series('calls that ended', green, (h) => 11 + noise(h, 8)),
    series('throttled calls', red, () => 0),
  ],
  Waits: [
    series('started', blue, (h) => ([1, 3].some((at) => Math.abs(h - at) < 0.09) ? 1 : 0)),
    series('succeeded', green, (h) => ([7.1, 9.6].some((at) => Math.abs(h - at) < 0.09) ? 1 : 0)),
    series('failed', red, () => 0),
    series('polls without answer', orange, () => 0),
    series('lost rounds', grey, () => 0),
  ],
  'Events and reminders': [
    series('events refused', red, () => 0),
    series('reminders started', green, (h) => ([6, 8].some((at) => Math.abs(h - at) < 0.09) ? 1 : 0)),
    series('reminders refused', orange, () => 0),
  ],
};

const UNIT = 40;
const escapeXml = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
const round = (value: number) => Math.round(value * 10) / 10;

/** A path through the points; it is broken where there is no figure. */
function pathOf(values: number[], toX: (index: number) => number, toY: (value: number) => number): string {
  return values
    .map((value, index) =>
      Number.isNaN(value)
        ? ''
        : `${index === 0 || Number.isNaN(values[index - 1] ?? Number.NaN) ? 'M' : 'L'}${round(toX(index))} ${round(toY(value))}`,
    )
    .join('');
}

function draw({ x, y, width, height, properties: { title, yAxis } }: (typeof widgets)[number]): string {
  const shown = data[title];
  if (!shown) throw new Error(`there is no made data for the widget "${title}"`);
  const [left, top, w, h] = [x * UNIT, y * UNIT, width * UNIT, height * UNIT];
  const plot = { x: left + 60, y: top + 40, w: w - 96, h: h - 90 };
  const highest = Math.max(1, ...shown.flatMap(({ values }) => values.filter((value) => !Number.isNaN(value)))) * 1.1;
  const toX = (index: number) => plot.x + (index / (POINTS - 1)) * plot.w;
  const toY = (value: number) => plot.y + plot.h - (value / highest) * plot.h;
  const grid = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const at = round(toY(part * highest));
    const label = highest > 20 ? Math.round(part * highest) : round(part * highest);
    return `<line x1="${plot.x}" y1="${at}" x2="${plot.x + plot.w}" y2="${at}" stroke="#e5e7eb"/><text x="${plot.x - 6}" y="${at + 4}" text-anchor="end">${label}</text>`;
  });
  const hours = [0, 3, 6, 9, 12].map(
    (hour) =>
      `<text x="${round(plot.x + (hour / 12) * plot.w)}" y="${plot.y + plot.h + 16}" text-anchor="middle">${String(hour + 8).padStart(2, '0')}:00</text>`,
  );
  const lines = shown.map(({ values, colour, filled }) => {
    const line = pathOf(values, toX, toY);
    const area = filled
      ? `<path d="${line}L${plot.x + plot.w} ${toY(0)}L${plot.x} ${toY(0)}Z" fill="${colour}" opacity="0.35"/>`
      : '';
    return `${area}<path d="${line}" fill="none" stroke="${colour}" stroke-width="2"/>`;
  });
  const legend = shown.map(({ label, colour }, index) => {
    const at = plot.x + index * (shown.length > 3 ? 96 : 150);
    return `<rect x="${at}" y="${top + h - 26}" width="10" height="10" fill="${colour}"/><text x="${at + 15}" y="${top + h - 17}">${escapeXml(label)}</text>`;
  });
  return [
    `<rect x="${left + 4}" y="${top + 4}" width="${w - 8}" height="${h - 8}" rx="6" fill="#fff" stroke="#d1d5db"/>`,
    `<text x="${left + 16}" y="${top + 25}" font-weight="bold" font-size="14">${escapeXml(title)}</text>`,
    `<text x="${left + w - 20}" y="${top + 25}" text-anchor="end">${escapeXml(yAxis.left.label)}</text>`,
    ...grid,
    ...hours,
    ...lines,
    ...legend,
  ].join('\n');
}

/** @returns the picture, as SVG */
export function renderDashboard(): string {
  const width = Math.max(...widgets.map((widget) => widget.x + widget.width)) * UNIT;
  const height = Math.max(...widgets.map((widget) => widget.y + widget.height)) * UNIT;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#374151">
<title>The dashboard during a migration, with made data</title>
<rect width="${width}" height="${height}" fill="#f3f4f6"/>
${widgets.map(draw).join('\n')}
</svg>
`;
}

if (import.meta.main) process.stdout.write(renderDashboard());
