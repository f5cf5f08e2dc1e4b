/**
 * Numbers and layouts against the C compiler: the kernel's own header where it has them, else the declarations below,
 * transcribed from the documentation of Linux 6.12, so that at least the compiler has done the arithmetic.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import * as uapi from '../../src/vfio/uapi.js';
import { throwsNicError } from '../support/expect-error.js';
import { suite } from '../support/suite.js';

const EXPORTED: ReadonlyMap<string, unknown> = new Map(Object.entries(uapi));

/** By hand from the headers: `_IO(type, nr)` is type << 8 | nr. */
const VFIO = (n: number) => (';'.charCodeAt(0) << 8) | (100 + n);
const IOMMU = (n: number) => (';'.charCodeAt(0) << 8) | (0x80 + n);
const REQUESTS: readonly (readonly [uapi.IoctlRequest, number])[] = [
  [uapi.VFIO_GET_API_VERSION, VFIO(0)],
  [uapi.VFIO_CHECK_EXTENSION, VFIO(1)],
  [uapi.VFIO_SET_IOMMU, VFIO(2)],
  [uapi.VFIO_GROUP_GET_STATUS, VFIO(3)],
  [uapi.VFIO_GROUP_SET_CONTAINER, VFIO(4)],
  [uapi.VFIO_GROUP_GET_DEVICE_FD, VFIO(6)],
  [uapi.VFIO_DEVICE_GET_INFO, VFIO(7)],
  [uapi.VFIO_DEVICE_GET_REGION_INFO, VFIO(8)],
  [uapi.VFIO_DEVICE_GET_IRQ_INFO, VFIO(9)],
  [uapi.VFIO_DEVICE_SET_IRQS, VFIO(10)],
  [uapi.VFIO_DEVICE_RESET, VFIO(11)],
  [uapi.VFIO_IOMMU_GET_INFO, VFIO(12)],
  [uapi.VFIO_IOMMU_MAP_DMA, VFIO(13)],
  [uapi.VFIO_IOMMU_UNMAP_DMA, VFIO(14)],
  [uapi.VFIO_DEVICE_BIND_IOMMUFD, VFIO(18)],
  [uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, VFIO(19)],
  [uapi.IOMMU_IOAS_ALLOC, IOMMU(1)],
  [uapi.IOMMU_IOAS_IOVA_RANGES, IOMMU(4)],
  [uapi.IOMMU_IOAS_MAP, IOMMU(5)],
  [uapi.IOMMU_IOAS_UNMAP, IOMMU(6)],
];

/** Constants of vfio.h that have the same name here. */
const CONSTANTS = [
  'VFIO_API_VERSION',
  'VFIO_TYPE1v2_IOMMU',
  'VFIO_GROUP_FLAGS_VIABLE',
  'VFIO_DEVICE_FLAGS_RESET',
  'VFIO_DEVICE_FLAGS_PCI',
  'VFIO_REGION_INFO_FLAG_READ',
  'VFIO_REGION_INFO_FLAG_WRITE',
  'VFIO_REGION_INFO_FLAG_MMAP',
  'VFIO_REGION_INFO_FLAG_CAPS',
  'VFIO_REGION_INFO_CAP_SPARSE_MMAP',
  'VFIO_IRQ_INFO_EVENTFD',
  'VFIO_IRQ_INFO_MASKABLE',
  'VFIO_IRQ_INFO_NORESIZE',
  'VFIO_IRQ_SET_DATA_NONE',
  'VFIO_IRQ_SET_DATA_EVENTFD',
  'VFIO_IRQ_SET_ACTION_TRIGGER',
  'VFIO_IOMMU_INFO_CAPS',
  'VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE',
  'VFIO_DMA_MAP_FLAG_READ',
  'VFIO_DMA_MAP_FLAG_WRITE',
  'IOMMU_IOAS_MAP_FIXED_IOVA',
  'IOMMU_IOAS_MAP_WRITEABLE',
  'IOMMU_IOAS_MAP_READABLE',
] as const;

type Layout = Readonly<Record<string, number>>;

/** C structure, its layout here, and the last field whose end our size is, where we pass less than all of it. */
const STRUCTS: readonly (readonly [name: string, layout: Layout, upTo?: string])[] = [
  ['vfio_group_status', uapi.VFIO_GROUP_STATUS],
  ['vfio_device_info', uapi.VFIO_DEVICE_INFO, 'num_irqs'],
  ['vfio_region_info', uapi.VFIO_REGION_INFO],
  ['vfio_info_cap_header', uapi.VFIO_INFO_CAP_HEADER],
  ['vfio_region_info_cap_sparse_mmap', uapi.VFIO_REGION_INFO_CAP_SPARSE_MMAP_LAYOUT],
  ['vfio_region_sparse_mmap_area', uapi.VFIO_REGION_SPARSE_MMAP_AREA],
  ['vfio_irq_info', uapi.VFIO_IRQ_INFO],
  ['vfio_irq_set', uapi.VFIO_IRQ_SET],
  ['vfio_iommu_type1_info', uapi.VFIO_IOMMU_TYPE1_INFO],
  ['vfio_iommu_type1_info_cap_iova_range', uapi.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE_LAYOUT],
  ['vfio_iova_range', uapi.VFIO_IOVA_RANGE],
  ['vfio_iommu_type1_dma_map', uapi.VFIO_IOMMU_TYPE1_DMA_MAP],
  ['vfio_iommu_type1_dma_unmap', uapi.VFIO_IOMMU_TYPE1_DMA_UNMAP],
  ['vfio_device_bind_iommufd', uapi.VFIO_DEVICE_BIND],
  ['vfio_device_attach_iommufd_pt', uapi.VFIO_DEVICE_ATTACH, 'pt_id'],
  ['iommu_ioas_alloc', uapi.IOMMU_IOAS_ALLOC_LAYOUT],
  ['iommu_ioas_iova_ranges', uapi.IOMMU_IOAS_IOVA_RANGES_LAYOUT],
  ['iommu_iova_range', uapi.IOMMU_IOVA_RANGE],
  ['iommu_ioas_map', uapi.IOMMU_IOAS_MAP_LAYOUT],
  ['iommu_ioas_unmap', uapi.IOMMU_IOAS_UNMAP_LAYOUT],
];

/** Debian 12's headers (Linux 6.1) have neither the character device's requests nor iommufd.h. */
const FALLBACKS = `
#ifndef VFIO_DEVICE_BIND_IOMMUFD
struct vfio_device_bind_iommufd { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; };
struct vfio_device_attach_iommufd_pt { __u32 argsz, flags, pt_id; };
struct vfio_device_detach_iommufd_pt { __u32 argsz, flags; };
#define WITHOUT_CDEV 1
#endif
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#else
struct iommu_destroy { __u32 size, id; };
struct iommu_ioas_alloc { __u32 size, flags, out_ioas_id; };
struct iommu_iova_range { __aligned_u64 start, last; };
struct iommu_ioas_iova_ranges {
  __u32 size, ioas_id, num_iovas, __reserved; __aligned_u64 allowed_iovas, out_iova_alignment; };
struct iommu_ioas_map { __u32 size, flags, ioas_id, __reserved; __aligned_u64 user_va, length, iova; };
struct iommu_ioas_unmap { __u32 size, ioas_id; __aligned_u64 iova, length; };
#define IOMMU_IOAS_MAP_FIXED_IOVA 1
#define IOMMU_IOAS_MAP_WRITEABLE 2
#define IOMMU_IOAS_MAP_READABLE 4
#define WITHOUT_IOMMUFD 1
#endif
`;

function program(): string {
  const lines = ['#include <stdio.h>', '#include <stddef.h>', '#include <linux/vfio.h>', FALLBACKS];
  lines.push('int main(void) {');
  const print = (key: string, expression: string) =>
    lines.push(`printf("${key} %llu\\n", (unsigned long long)(${expression}));`);
  for (const [{ name }] of REQUESTS) {
    // iommufd's numbers are macros over an enum, vfio's are macros: both can be asked for.
    lines.push(`#ifdef ${name}`);
    print(name, name);
    lines.push('#endif');
  }
  for (const name of CONSTANTS) print(name, name);
  for (const [name, layout, upTo] of STRUCTS) {
    const size = `sizeof(struct ${name})`;
    const upToSize = `offsetof(struct ${name}, ${upTo}) + sizeof(((struct ${name} *)0)->${upTo})`;
    print(`${name}.sizeBytes`, upTo === undefined ? size : upToSize);
    for (const field of Object.keys(layout)) {
      if (field !== 'sizeBytes') print(`${name}.${field}`, `offsetof(struct ${name}, ${field})`);
    }
  }
  lines.push('return 0; }');
  return lines.join('\n');
}

/** BAREWIRE_UAPI_INCLUDE: a folder with newer kernel headers than the machine's. */
function compileAndRun(): Map<string, number> | string {
  if (spawnSync('gcc', ['--version']).status !== 0) return 'gcc is not installed';
  const folder = mkdtempSync(join(tmpdir(), 'barewire-uapi-'));
  try {
    const source = join(folder, 'uapi.c');
    const binary = join(folder, 'uapi');
    const include = process.env.BAREWIRE_UAPI_INCLUDE;
    const options = include === undefined ? [] : ['-isystem', include];
    writeFileSync(source, '#include <linux/vfio.h>\n');
    if (spawnSync('gcc', [...options, '-E', '-o', binary, source]).status !== 0) {
      return '<linux/vfio.h> is not installed';
    }
    writeFileSync(source, program());
    execFileSync('gcc', [...options, '-o', binary, source]);
    const lines = execFileSync(binary, { encoding: 'utf8' }).trim().split('\n');
    return new Map(lines.map((line) => line.split(' ') as [string, string]).map(([k, v]) => [k, Number(v)]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const numbers = suite('uapi: request numbers');
numbers('are what _IO gives', () => {
  for (const [request, number] of REQUESTS) assert.is(request.number, number, request.name);
});
numbers('are carried under their own names', () => {
  for (const [request] of REQUESTS) assert.is(EXPORTED.get(request.name), request);
});
numbers.run();

const header = suite('uapi: the C compiler agrees');
const compiled = compileAndRun();
if (typeof compiled === 'string') {
  console.log(`SKIP uapi against the kernel header: ${compiled}`);
} else {
  header('on request numbers', () => {
    for (const [{ name, number }] of REQUESTS) {
      const fromHeader = compiled.get(name);
      if (fromHeader !== undefined) assert.is(number, fromHeader, name);
    }
    assert.is(compiled.get('VFIO_IOMMU_MAP_DMA'), uapi.VFIO_IOMMU_MAP_DMA.number);
  });
  header('on constants', () => {
    for (const name of CONSTANTS) assert.is(EXPORTED.get(name), compiled.get(name), name);
  });
  header('on sizes and offsets', () => {
    for (const [name, layout] of STRUCTS) {
      for (const [field, offset] of Object.entries(layout)) {
        // The structure's padding grew into a field in later headers; its size did not change.
        assert.is(offset, compiled.get(`${name}.${field}`), `${name}.${field}`);
      }
    }
  });
}
header.run();

const chain = suite('uapi: capability chains');
function region(capOffset: number, sizeBytes: number): uapi.Struct {
  const info = uapi.encodeRegionInfo(0, sizeBytes);
  info.setU32(uapi.VFIO_REGION_INFO.flags, 0xf).setU32(uapi.VFIO_REGION_INFO.cap_offset, capOffset);
  return info.setU64(uapi.VFIO_REGION_INFO.size, 0x10000n);
}
chain('a loop ends with an error', () => {
  const info = region(32, 64).setU32(32, 0x0001_0003).setU32(36, 32);
  throwsNicError('VFIO', /chain is damaged/, () => uapi.decodeRegionInfo(info));
});
chain('an offset outside the structure, or into its fixed part, is an error', () => {
  throwsNicError('VFIO', /chain is damaged at offset 60/, () => uapi.decodeRegionInfo(region(60, 64)));
  throwsNicError('VFIO', /chain is damaged at offset 8/, () => uapi.decodeRegionInfo(region(8, 64)));
});
chain('more areas than the structure holds is an error', () => {
  const info = region(32, 64).setU32(32, 0x0001_0001).setU32(40, 2);
  throwsNicError('VFIO', /chain is damaged/, () => uapi.decodeRegionInfo(info));
});
chain('an area is cut at the end of its region', () => {
  const info = region(32, 64).setU32(32, 0x0001_0001).setU32(40, 1);
  info.setU64(48, 0x8000n).setU64(56, 0x20000n);
  assert.equal(uapi.decodeRegionInfo(info).areas, [{ offset: 0x8000, sizeBytes: 0x8000 }]);
});
chain('a size beyond 2^53 is an error', () => {
  const info = region(0, 32).setU64(uapi.VFIO_REGION_INFO.size, 1n << 60n);
  throwsNicError('VFIO', /more than 2\^53/, () => uapi.decodeRegionInfo(info));
});
chain.run();
