/*
 * What the device, the two C forwarders and the benchmark agree on. A "lab" is one set-up of two ports whose rings and
 * packet buffers lie in memory that the benchmark allocated; the device reads and writes them as a NIC would by DMA.
 */
#ifndef LOCKSTEP_H
#define LOCKSTEP_H

#include <stdint.h>
#include <string.h>

/* One advanced descriptor, 16 bytes (82599 datasheet 7.1.6 and 7.2.3). */
union descriptor {
    struct {
        uint64_t address;
        uint32_t word2; /* receive: status and errors; transmit: command and length */
        uint32_t word3; /* receive: length and VLAN tag; transmit: status and PAYLEN */
    };
    struct {
        uint64_t packet;
        uint64_t header;
    };
};

_Static_assert(sizeof(union descriptor) == 16, "a descriptor is 16 bytes");

#define RX_DD (1u << 0)
#define RX_EOP (1u << 1)
#define TX_DD (1u << 0)
#define TX_DTYP_DATA (3u << 20)
#define TX_EOP (1u << 24)
#define TX_IFCS (1u << 25)
#define TX_RS (1u << 27)
#define TX_DEXT (1u << 29)
#define TX_PAYLEN_SHIFT 14

/* 64 bytes on the wire are 60 in memory: the MAC adds the FCS. */
#define FRAME_BYTES_MIN 60

struct port {
    volatile union descriptor *rx;
    volatile union descriptor *tx;
    volatile uint32_t *rdt;
    volatile uint32_t *tdt;
    uint32_t rx_head;
    uint32_t tx_head;
    /* Number of the next frame to arrive here, and of the next one that must leave here. */
    uint64_t next_in;
    uint64_t next_out;
    uint64_t missed;
    uint64_t payload_bytes;
};

enum fault { FAULT_NONE, FAULT_SKIP_PACKET, FAULT_WRONG_ADDRESS, FAULT_WRONG_LENGTH };

struct lab {
    struct port port[2];
    uint8_t *memory;
    uint64_t iova;
    uint32_t ring_size;
    uint32_t buffers;
    uint32_t buffer_bytes;
    /* Where in a buffer the frame starts: 0, or 64 behind the header of the C forwarder. */
    uint32_t data_offset;
    uint32_t frame_bytes;
    /* 1 where C forwarders shall hand out buffers in no order, so that no prefetcher guesses the next one. */
    int shuffled;
    /* 1 while a buffer carries a frame that was delivered and has not left. */
    uint8_t *busy;
    enum fault fault;
    char error[256];
};

/* The buffer whose frame starts at an address, or -1. */
static inline int64_t buffer_at(const struct lab *lab, uint64_t address) {
    uint64_t offset = address - lab->iova - lab->data_offset;
    if (offset >= (uint64_t)lab->buffers * lab->buffer_bytes) return -1;
    return offset % lab->buffer_bytes == 0 ? (int64_t)(offset / lab->buffer_bytes) : -1;
}

static inline uint8_t *frame_of(const struct lab *lab, int64_t buffer) {
    return lab->memory + (uint64_t)buffer * lab->buffer_bytes + lab->data_offset;
}

/* Where the number is in a frame: behind the Ethernet header, on an 8-byte boundary. */
#define NUMBER_OFFSET 16

static inline void write_frame(const struct lab *lab, int64_t buffer, uint64_t number) {
    uint64_t *frame = (uint64_t *)frame_of(lab, buffer);
    frame[0] = 0x0002000000000002;
    frame[1] = 0xb588010000000002;
    frame[NUMBER_OFFSET / 8] = number;
    frame[3] = 0;
}

#define FAIL(...) (snprintf(lab->error, sizeof(lab->error), __VA_ARGS__), -1)

/*
 * The look of an application: EtherType, IPv4 destination and UDP port of a frame, all three of them, since no frame of the
 * device's is blocked. The TypeScript peers look for the same values (bench/look.ts).
 */
#define BLOCKED_TYPE 0x0800u
#define BLOCKED_ADDRESS 0xc6130001u
#define BLOCKED_PORT 53u

static inline int is_blocked(const uint8_t *frame) {
    uint16_t type, port;
    uint32_t address;
    memcpy(&type, frame + 12, 2);
    memcpy(&address, frame + 30, 4);
    memcpy(&port, frame + 36, 2);
    return ((__builtin_bswap16(type) ^ BLOCKED_TYPE) | (__builtin_bswap32(address) ^ BLOCKED_ADDRESS) |
            (__builtin_bswap16(port) ^ BLOCKED_PORT)) == 0;
}

#endif
