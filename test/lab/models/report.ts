/** What a case expects of the models' report. */
import type { Report } from './description.js';

/** All that a driver, or QEMU, did wrong according to the models: one line each. */
export function describeViolations({ nics, trouble }: Report): string[] {
  return [
    ...trouble,
    ...nics.flatMap(({ name, violations, faults }) => [
      ...violations.map(
        ({ subject, section, message, count }) =>
          `${name}: ${subject} (${section}): ${message}, ${count} times`,
      ),
      ...faults.map(
        ({ direction, purpose, sizeBytes, iova }) =>
          `${name}: IOMMU fault: ${direction} of ${purpose}, ${sizeBytes} bytes at 0x${iova.toString(16)}`,
      ),
    ]),
  ];
}
