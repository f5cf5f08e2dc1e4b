/** Filters: a text of pcap-filter's language, its tree, and the function that it is compiled to. */
export { compileFilter, type FrameFilter } from './compile.js';
export { parseFilter } from './parse.js';
export type { Direction, Filter, Primitive } from './syntax.js';
