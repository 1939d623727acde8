/* raw_read.h - reading a file from end to end with nothing else done: the yardsticks of bench-load. */
#ifndef PK_TESTS_BENCH_RAW_READ_H
#define PK_TESTS_BENCH_RAW_READ_H

#include <stdint.h>

typedef enum {
    RAW_URING,    /* O_DIRECT, 4 MiB, 32 in flight, registered buffers and file, into 32 buffers over and over */
    RAW_PREAD,    /* O_DIRECT, 4 MiB, one after the other, into one buffer */
    RAW_BUFFERED, /* through the page cache, which is emptied of the file first, as read() in a loop does it */
} raw_way;

/* Bytes read, 0 on failure (said on stderr). */
uint64_t raw_read(const char *path, raw_way way);

#endif
