/* tokenizer.json: what is accepted encodes text into ids that it has, twice the same, and gives their bytes back. */
#include "fuzz.h"
#include "stages/tokenizer/tokenizer.h"

#include <string.h>

static const char *const texts[] = {"", "a", "Hello, world's 12345  end\n\n",
                                    "\xc3\xa9\xe2\x82\xac \xf0\x9f\x98\x80\t.", "<|end|> aaaa bbbb the the"};

static void check_ids(const pk_tokenizer *tokenizer, const pk_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++) {
        size_t bytes = 0;
        MUST(ids->ids[i] >= 0 && (size_t)ids->ids[i] < pk_tokenizer_count(tokenizer));
        MUST(pk_tokenizer_bytes(tokenizer, ids->ids[i], &bytes) != NULL);
    }
}

static void check_decoding(const pk_tokenizer *tokenizer, const pk_ids *ids)
{
    pk_detokenizer state = {.keep_special = true};
    pk_text text = {0};
    MUST(pk_tokenizer_decode(tokenizer, &state, ids->ids, ids->count, &text) == PK_OK);
    MUST(pk_tokenizer_decode_end(&state, &text) == PK_OK);
    MUST(text.count == 0 || pk_utf8_check(text.bytes, text.count, NULL));
    pk_text_fini(&text);
}

static void check_text(const pk_tokenizer *tokenizer, const char *text)
{
    pk_ids ids = {0}, again = {0};
    pk_err err = pk_tokenizer_encode(tokenizer, text, strlen(text), &ids);
    MUST(pk_tokenizer_encode(tokenizer, text, strlen(text), &again) == err && ids.count == again.count);
    MUST(ids.count == 0 || memcmp(ids.ids, again.ids, ids.count * sizeof *ids.ids) == 0);
    MUST(!err || ids.count == 0);
    check_ids(tokenizer, &ids);
    check_decoding(tokenizer, &ids);
    pk_ids_fini(&ids);
    pk_ids_fini(&again);
}

static void check_special(const pk_tokenizer *tokenizer)
{
    size_t count = 0;
    const int32_t *eos = pk_tokenizer_eos(tokenizer, &count);
    for (size_t i = 0; i < count; i++)
        MUST(eos[i] >= 0 && (size_t)eos[i] < pk_tokenizer_count(tokenizer));
    MUST(pk_tokenizer_count(tokenizer) <= PK_TOKENIZER_IDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pk_tokenizer *tokenizer = NULL;
    pk_err err = pk_tokenizer_open(&tokenizer, fuzz_file(data, size));
    if (err) {
        fuzz_refused(err);
        MUST(tokenizer == NULL);
        return 0;
    }
    check_special(tokenizer);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_text(tokenizer, texts[i]);
    pk_tokenizer_close(&tokenizer);
    return 0;
}
