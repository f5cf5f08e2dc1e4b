/* Virtqueues of the lockstep device (VIRTIO 1.2, 2.7 and 2.8). All fields are little-endian, as x86 is. */
#ifndef VIRTIO_H
#define VIRTIO_H

#include "lockstep.h"

#define NET_HEADER_BYTES 12
#define DESC_WRITE 2
#define PACKED_AVAIL (1u << 7)
#define PACKED_USED (1u << 15)

struct split_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct packed_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t id;
    uint16_t flags;
};

_Static_assert(sizeof(struct split_descriptor) == 16 && sizeof(struct packed_descriptor) == 16, "16 bytes");

struct used_element {
    uint32_t id;
    uint32_t length;
};

struct avail_ring {
    uint16_t flags;
    uint16_t idx;
    uint16_t ring[];
};

struct used_ring {
    uint16_t flags;
    uint16_t idx;
    struct used_element ring[];
};

/* A queue: what the driver gave, and where the device is. */
struct virtqueue {
    volatile void *descriptors;
    volatile void *driver;
    volatile void *device;
    volatile uint16_t *doorbell;
    uint16_t next;
    uint16_t wrap;
};

/* The lab comes first: it is one for all that only count and free. */
struct virtio_lab {
    struct lab lab;
    int32_t packed;
    struct virtqueue rx[2];
    struct virtqueue tx[2];
};

#endif
