/**
 * What a driver did that the datasheet forbids, and what the IOMMU refused. Hardware would silently do something
 * undefined; the model keeps a list instead. Everything here is off the packet path.
 */
import { NicError } from '../../errors.js';

/** One kind of mistake; repeated ones are counted, not repeated. */
export interface Violation {
  /** Datasheet name of the register or descriptor field, with its index: `TDT(3)`. */
  readonly subject: string;
  /** Section of the datasheet that forbids it. */
  readonly section: string;
  /** What was done, in one sentence. */
  readonly message: string;
  count: number;
}

/** An access outside the memory the client mapped: on real hardware, an IOMMU fault. */
export interface DmaFault {
  readonly iova: number;
  readonly sizeBytes: number;
  /** As the device sees it: `read` from host memory, `write` to it. */
  readonly direction: 'read' | 'write';
  /** What the device wanted there: `TX descriptor`, `RX buffer`, ... */
  readonly purpose: string;
}

export interface ViolationOptions {
  /** Turn the first violation of a register access or poll into a thrown `NicError`. Default false. */
  readonly strict?: boolean;
  readonly onViolation?: (violation: Violation) => void;
  readonly onFault?: (fault: DmaFault) => void;
}

/** Kinds of mistakes kept; later ones are only counted, so a hostile client cannot fill memory. */
const LIST_LIMIT = 256;

export class Violations {
  readonly list: Violation[] = [];
  readonly faults: DmaFault[] = [];
  /** All of them, also those no longer listed. */
  count = 0;
  faultCount = 0;
  readonly #datasheet: string;
  readonly #options: ViolationOptions;
  readonly #byKey = new Map<string, Violation>();
  #unraised: Violation | undefined;

  /** @param datasheet its name, for what strict mode throws: `82599 datasheet` */
  constructor(datasheet: string, options: ViolationOptions) {
    this.#datasheet = datasheet;
    this.#options = options;
  }

  report(subject: string, section: string, message: string): void {
    this.count++;
    const key = `${subject}|${message}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      known.count++;
      this.#unraised ??= known;
      return;
    }
    const violation: Violation = { subject, section, message, count: 1 };
    this.#unraised ??= violation;
    if (this.list.length < LIST_LIMIT) {
      this.list.push(violation);
      this.#byKey.set(key, violation);
      this.#options.onViolation?.(violation);
    }
  }

  fault(iova: number, sizeBytes: number, direction: 'read' | 'write', purpose: string): void {
    this.faultCount++;
    if (this.faults.length >= LIST_LIMIT) return;
    const fault: DmaFault = { iova, sizeBytes, direction, purpose };
    this.faults.push(fault);
    this.#options.onFault?.(fault);
  }

  /**
   * Called at the end of each register access and poll, when the model's state is whole again.
   * @throws NicError `DEVICE_STATE` in strict mode, once for each report
   */
  raise(): void {
    const violation = this.#unraised;
    if (violation === undefined) return;
    this.#unraised = undefined;
    if (this.#options.strict !== true) return;
    throw new NicError('DEVICE_STATE', `${violation.subject}: ${violation.message}`, {
      hint: `${this.#datasheet}, section ${violation.section}`,
    });
  }

  clear(): void {
    this.list.length = 0;
    this.faults.length = 0;
    this.count = 0;
    this.faultCount = 0;
    this.#byKey.clear();
    this.#unraised = undefined;
  }
}
