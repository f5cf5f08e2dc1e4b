/** Figures as they stand in tables and charts. */

const SIGNIFICANT_DIGITS = 3;

/** Three digits that count: 0.0123, 1.23, 12.3, 123, 1230. */
export function figure(value: number): string {
  if (value === 0) return '0';
  const rounded = Number(value.toPrecision(SIGNIFICANT_DIGITS));
  const digits = SIGNIFICANT_DIGITS - 1 - Math.floor(Math.log10(Math.abs(rounded)));
  return rounded.toFixed(Math.min(Math.max(digits, 0), 6));
}

/** With a unit of a thousand, a million and so on: 950, 12.3 k, 1.23 M. */
export function scaled(value: number): string {
  for (const [limit, letter] of [
    [1e9, ' G'],
    [1e6, ' M'],
    [1e3, ' k'],
  ] as const) {
    // 999,600 would be "1000 k".
    if (value >= limit * 0.9995) return figure(value / limit) + letter;
  }
  return figure(value);
}

/** A time in the unit that suits it. */
export function duration(ns: number): string {
  if (ns >= 999_500_000) return `${figure(ns / 1e9)} s`;
  if (ns >= 999_500) return `${figure(ns / 1e6)} ms`;
  if (ns >= 999.5) return `${figure(ns / 1e3)} µs`;
  return `${figure(ns)} ns`;
}

export function percent(share: number): string {
  const digits = share > 0 && share < 0.01 ? 1 : 0;
  return `${(share * 100).toFixed(digits)} %`;
}

/** With commas between thousands. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}
