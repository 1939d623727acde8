/* pack.h - writes msgpack into a place of fixed size.
 *
 * Nothing is allocated; what does not fit sets `overflow` and is dropped, so that a writer checks once, at the end. */
#ifndef PK_IPC_PACK_H
#define PK_IPC_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *bytes; /* the caller's */
    size_t capacity, used;
    bool overflow;
} pk_packer;

void pk_pack_array(pk_packer *packer, size_t elements);
void pk_pack_map(pk_packer *packer, size_t pairs);
void pk_pack_uint(pk_packer *packer, uint64_t value); /* the shortest form */
void pk_pack_int(pk_packer *packer, int64_t value);
void pk_pack_f32(pk_packer *packer, float value);
void pk_pack_text(pk_packer *packer, const char *text);
void pk_pack_text_bytes(pk_packer *packer, const char *text, size_t bytes);
/* The header of a bin of `bytes` bytes; its content is not written. */
void pk_pack_bin_header(pk_packer *packer, uint32_t bytes);

#endif
