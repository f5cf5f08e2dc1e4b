/*
 * The lockstep device with virtqueues instead of the 82599's rings: what device.c does and checks, for split and packed rings.
 * Beside order, addresses, lengths and ownership of buffers it checks the 12 bytes in front of each frame, which must be 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio.h"

/* Defined in device.c. */
struct lab *lab_new(uint8_t *memory, uint64_t iova, uint32_t buffers, uint32_t buffer_bytes, uint32_t data_offset,
                    uint32_t ring_size);

struct virtio_lab *virtio_lab_new(uint8_t *memory, uint64_t iova, uint32_t buffers, uint32_t buffer_bytes,
                                  uint32_t data_offset, uint32_t ring_size, int32_t packed) {
    struct lab *lab = lab_new(memory, iova, buffers, buffer_bytes, data_offset, ring_size);
    struct virtio_lab *virtio = calloc(1, sizeof(*virtio));
    virtio->lab = *lab;
    free(lab);
    virtio->packed = packed;
    return virtio;
}

/* `queue` is 0 for receive and 1 for transmit. */
void virtio_lab_queue(struct virtio_lab *virtio, uint32_t port, uint32_t queue, void *descriptors, void *driver,
                      void *device, uint16_t *doorbell) {
    struct virtqueue *q = queue == 0 ? &virtio->rx[port] : &virtio->tx[port];
    q->descriptors = descriptors;
    q->driver = driver;
    q->device = device;
    q->doorbell = doorbell;
    q->wrap = 1;
}

/* What a descriptor says, whatever its kind. */
struct list {
    uint64_t address;
    uint32_t length;
    uint16_t id;
    int is_writable;
};

/* The next available descriptor; 0 where there is none, -1 where the ring is wrong. */
static int32_t look(struct virtio_lab *virtio, const struct virtqueue *queue, struct list *list) {
    struct lab *lab = &virtio->lab;
    const uint32_t size = lab->ring_size;
    if (virtio->packed) {
        volatile struct packed_descriptor *d = &((volatile struct packed_descriptor *)queue->descriptors)[queue->next];
        const uint16_t flags = d->flags;
        if (((flags & PACKED_AVAIL) != 0) != queue->wrap || ((flags & PACKED_USED) != 0) == queue->wrap) return 0;
        *list = (struct list){d->address, d->length, d->id, (flags & DESC_WRITE) != 0};
        if ((flags & ~(PACKED_AVAIL | PACKED_USED | DESC_WRITE)) != 0) return FAIL("descriptor flags 0x%04x", flags);
    } else {
        volatile struct avail_ring *avail = queue->driver;
        if (avail->idx == queue->next) return 0;
        const uint16_t id = avail->ring[queue->next & (size - 1)];
        if (id >= size) return FAIL("available descriptor %u of %u", id, size);
        volatile struct split_descriptor *d = &((volatile struct split_descriptor *)queue->descriptors)[id];
        *list = (struct list){d->address, d->length, id, (d->flags & DESC_WRITE) != 0};
        if ((d->flags & ~DESC_WRITE) != 0) return FAIL("descriptor flags 0x%04x", d->flags);
    }
    if (list->id >= size) return FAIL("id %u of %u", list->id, size);
    return 1;
}

/* Uses the descriptor that `look` found. */
static void use(struct virtio_lab *virtio, struct virtqueue *queue, uint16_t id, uint32_t written) {
    const uint32_t size = virtio->lab.ring_size;
    if (virtio->packed) {
        volatile struct packed_descriptor *d = &((volatile struct packed_descriptor *)queue->descriptors)[queue->next];
        /* Unused in a used descriptor (2.8.5): nobody may rely on it. */
        d->address = 0xdeadbeefdeadbeef;
        d->length = written;
        d->id = id;
        d->flags = queue->wrap ? PACKED_AVAIL | PACKED_USED : 0;
        if (++queue->next == size) {
            queue->next = 0;
            queue->wrap ^= 1;
        }
        return;
    }
    volatile struct used_ring *used = queue->device;
    volatile struct used_element *element = &used->ring[queue->next & (size - 1)];
    element->id = id;
    element->length = written;
    used->idx = ++queue->next;
}

static int32_t arrive(struct virtio_lab *virtio, uint32_t index, int32_t count) {
    struct lab *lab = &virtio->lab;
    struct virtqueue *queue = &virtio->rx[index];
    struct list list;
    int32_t arrived = 0;
    while (arrived < count) {
        const int32_t found = look(virtio, queue, &list);
        if (found < 0) return -1;
        if (found == 0) break;
        const int64_t buffer = buffer_at(lab, list.address + NET_HEADER_BYTES);
        if (buffer < 0) return FAIL("port %u: receive descriptor %u points at no buffer", index, list.id);
        if (!list.is_writable || list.length < NET_HEADER_BYTES + lab->frame_bytes) {
            return FAIL("port %u: receive descriptor %u cannot be written", index, list.id);
        }
        if (lab->busy[buffer]) return FAIL("port %u: receive descriptor %u has a buffer in use", index, list.id);
        lab->busy[buffer] = 1;
        /* A header that must not be sent on: checksum valid, and in one buffer. */
        uint8_t *header = frame_of(lab, buffer) - NET_HEADER_BYTES;
        memset(header, 0, NET_HEADER_BYTES);
        header[0] = 2;
        header[10] = 1;
        write_frame(lab, buffer, lab->port[index].next_in++ * 2 + index);
        use(virtio, queue, list.id, NET_HEADER_BYTES + lab->frame_bytes);
        arrived++;
    }
    lab->port[index].missed += (uint64_t)(count - arrived);
    return arrived;
}

static int32_t leave(struct virtio_lab *virtio, uint32_t index, int32_t count) {
    struct lab *lab = &virtio->lab;
    struct port *port = &lab->port[index];
    struct virtqueue *queue = &virtio->tx[index];
    static const uint8_t zeros[NET_HEADER_BYTES];
    struct list list;
    int32_t sent = 0;
    while (sent < count) {
        const int32_t found = look(virtio, queue, &list);
        if (found < 0) return -1;
        if (found == 0) break;
        if (lab->fault == FAULT_WRONG_ADDRESS && port->next_out == 1000) list.address += lab->buffer_bytes;
        if (lab->fault == FAULT_WRONG_LENGTH && port->next_out == 1000) list.length ^= 1;
        const int64_t buffer = buffer_at(lab, list.address + NET_HEADER_BYTES);
        if (buffer < 0) return FAIL("port %u: transmit descriptor %u points at no buffer", index, list.id);
        if (!lab->busy[buffer]) {
            return FAIL("port %u: transmit descriptor %u has a buffer that was not delivered", index, list.id);
        }
        if (list.is_writable || list.length != NET_HEADER_BYTES + lab->frame_bytes) {
            return FAIL("port %u: transmit length %u", index, list.length);
        }
        if (memcmp(frame_of(lab, buffer) - NET_HEADER_BYTES, zeros, NET_HEADER_BYTES) != 0) {
            return FAIL("port %u: the header of transmit descriptor %u is not 0", index, list.id);
        }
        const uint64_t number = ((uint64_t *)frame_of(lab, buffer))[NUMBER_OFFSET / 8];
        const uint64_t expected = port->next_out++ * 2 + (1 - index);
        if (lab->fault == FAULT_SKIP_PACKET && port->next_out == 1000) port->next_out++;
        if (number != expected) {
            return FAIL("port %u: frame %llu left instead of %llu", index, (unsigned long long)number,
                        (unsigned long long)expected);
        }
        lab->busy[buffer] = 0;
        port->payload_bytes += lab->frame_bytes;
        use(virtio, queue, list.id, 0);
        sent++;
    }
    return sent;
}

/* As lab_step of device.c. */
int32_t virtio_lab_step(struct virtio_lab *virtio, int32_t send, int32_t count) {
    int32_t most = 0;
    for (uint32_t i = 0; i < 2; i++) {
        if (leave(virtio, i, send) < 0) return -1;
    }
    for (uint32_t i = 0; i < 2; i++) {
        const int32_t arrived = arrive(virtio, i, count);
        if (arrived < 0) return -1;
        if (arrived > most) most = arrived;
    }
    return most;
}

/* Checks that no available receive descriptor has a buffer in use, or that of another: by looking at each in turn. */
int32_t virtio_lab_check_armed(struct virtio_lab *virtio) {
    struct lab *lab = &virtio->lab;
    uint8_t *seen = calloc(1, lab->buffers);
    int32_t result = 0;
    for (uint32_t index = 0; index < 2 && result == 0; index++) {
        struct virtqueue queue = virtio->rx[index];
        struct list list;
        for (uint32_t i = 0; i < lab->ring_size; i++) {
            const int32_t found = look(virtio, &queue, &list);
            if (found < 0) result = -1;
            if (found <= 0) break;
            const int64_t buffer = buffer_at(lab, list.address + NET_HEADER_BYTES);
            if (buffer < 0 || lab->busy[buffer] || seen[buffer]) {
                result = FAIL("port %u: receive descriptor %u has %s", index, list.id,
                              buffer < 0 ? "no buffer" : seen[buffer] ? "the buffer of another" : "a buffer in use");
                break;
            }
            seen[buffer] = 1;
            if (++queue.next == lab->ring_size && virtio->packed) {
                queue.next = 0;
                queue.wrap ^= 1;
            }
        }
    }
    free(seen);
    return result;
}
