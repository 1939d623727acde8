#include "ipc/pack.h"

#include <msgpack/pack.h>
#include <string.h>

static int append(void *data, const char *bytes, size_t count)
{
    pk_packer *packer = data;
    if (packer->overflow || count > packer->capacity - packer->used) {
        packer->overflow = true;
        return 0;
    }
    memcpy(packer->bytes + packer->used, bytes, count);
    packer->used += count;
    return 0;
}

static msgpack_packer over(pk_packer *packer)
{
    return (msgpack_packer){.data = packer, .callback = append};
}

void pk_pack_array(pk_packer *packer, size_t elements)
{
    msgpack_packer mp = over(packer);
    msgpack_pack_array(&mp, elements);
}

void pk_pack_map(pk_packer *packer, size_t pairs)
{
    msgpack_packer mp = over(packer);
    msgpack_pack_map(&mp, pairs);
}

void pk_pack_uint(pk_packer *packer, uint64_t value)
{
    msgpack_packer mp = over(packer);
    msgpack_pack_uint64(&mp, value);
}

void pk_pack_int(pk_packer *packer, int64_t value)
{
    msgpack_packer mp = over(packer);
    msgpack_pack_int64(&mp, value);
}

void pk_pack_f32(pk_packer *packer, float value)
{
    msgpack_packer mp = over(packer);
    msgpack_pack_float(&mp, value);
}

void pk_pack_text(pk_packer *packer, const char *text)
{
    pk_pack_text_bytes(packer, text, strlen(text));
}

void pk_pack_text_bytes(pk_packer *packer, const char *text, size_t bytes)
{
    msgpack_packer mp = over(packer);
    msgpack_pack_str_with_body(&mp, text, bytes);
}

void pk_pack_bin_header(pk_packer *packer, uint32_t bytes)
{
    msgpack_packer mp = over(packer);
    msgpack_pack_bin(&mp, bytes);
}
