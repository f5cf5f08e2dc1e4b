/** Values of JSON, read with care: a message names the place, as in `core.runs[0].cells[3].batch is "x", not ...`. */

/** A value and where it stands. */
export class Value {
  constructor(value: unknown, place: string) {
    this.#value = value;
    this.#place = place;
  }

  readonly #value: unknown;
  readonly #place: string;

  /** A member of an object. @throws Error where this is no object */
  at(key: string): Value {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) {
      return this.#fail('an object');
    }
    const place = this.#place === '' ? key : `${this.#place}.${key}`;
    return new Value((this.#value as Readonly<Record<string, unknown>>)[key], place);
  }

  /** JSON has null where a number was none. */
  get missing(): boolean {
    return this.#value === undefined || this.#value === null;
  }

  list<T>(parse: (item: Value) => T): T[] {
    if (!Array.isArray(this.#value)) return this.#fail('a list');
    return this.#value.map((item, i) => parse(new Value(item, `${this.#place}[${i}]`)));
  }

  optional<T>(parse: (value: Value) => T): T | undefined {
    return this.missing ? undefined : parse(this);
  }

  string(): string {
    if (typeof this.#value !== 'string' || this.#value === '') return this.#fail('a text');
    return this.#value;
  }

  boolean(): boolean {
    if (typeof this.#value !== 'boolean') return this.#fail('true or false');
    return this.#value;
  }

  /** 0 or more. */
  number(): number {
    if (typeof this.#value !== 'number' || !Number.isFinite(this.#value) || this.#value < 0) {
      return this.#fail('a number of 0 or more');
    }
    return this.#value;
  }

  positive(): number {
    if (this.number() === 0) return this.#fail('a number above 0');
    return this.number();
  }

  /** 0 to 1. */
  share(): number {
    if (this.number() > 1) return this.#fail('a number from 0 to 1');
    return this.number();
  }

  integer(): number {
    if (typeof this.#value !== 'number' || !Number.isSafeInteger(this.#value))
      return this.#fail('an integer');
    return this.#value;
  }

  oneOf<T extends string>(names: readonly T[]): T {
    const name = names.find((known) => known === this.#value);
    return name ?? this.#fail(`one of ${names.join(', ')}`);
  }

  #fail(wanted: string): never {
    const given = JSON.stringify(this.#value) ?? 'missing';
    throw new Error(`${this.#place || 'the result'} is ${given.slice(0, 60)}, not ${wanted}`);
  }
}

/** What was missing is missing in what was read, too. */
export function withoutUndefined<T extends object>(value: { [key in keyof T]: T[key] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
}
