#include "pipeline/result_name.h"

#include "loader/digest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char ending[] = ".md";

enum {
    DIGEST_BYTES = 1 + 16, /* ~ and half a digest */
    ANSWER_BYTES = 22,     /* . and a number */
    PLAIN_BYTES_MAX = PK_RESULT_NAME_BYTES - (int)sizeof ending - ANSWER_BYTES,
    CUT_BYTES = PLAIN_BYTES_MAX - DIGEST_BYTES,
};

static bool is_number(const char *from, const char *end)
{
    return from < end && strspn(from, "0123456789") >= (size_t)(end - from);
}

/* path.1#2 and the second answer to path#1 would have one name. */
static bool is_ambiguous(const char *custom_id, const char *question, size_t answer)
{
    const char *dot = question;
    if (answer)
        return !is_number(question + 1, question + strlen(question));
    while (dot > custom_id && *dot != '.')
        dot--;
    return *dot == '.' && is_number(dot + 1, question);
}

/* Whether the name says which custom_id it came from: reading each `__` from the left as `/` and the last `.` as `#`
 * (the one before, where a number stands on both its sides) gives it back. Then no other custom_id has this name, and
 * one with a digest holds a `~`. question: where its # stands. */
static bool is_reversible(const char *custom_id, const char *question, size_t answer)
{
    if (question && is_ambiguous(custom_id, question, answer))
        return false;
    if (custom_id[0] == '.' || !question || strchr(question + 1, '.') || strchr(question + 1, '/') ||
        strchr(custom_id, '~'))
        return false;
    for (const char *at = custom_id; *at; at++)
        if ((at[0] == '_' && (at[1] == '_' || at[1] == '/')) || (at[0] == '/' && at[1] == '/'))
            return false;
    return true;
}

/* Writes as much of the name as fits in `room` bytes, cut between characters; returns its length. `whole` tells whether
 * that was all. */
static size_t write_plain(char *out, size_t room, const char *custom_id, const char *question, bool *whole)
{
    size_t used = 0, boundary = 0;
    for (const char *at = custom_id; *at; at++) {
        size_t needed = *at == '/' ? 2 : 1;
        if (((unsigned char)*at & 0xC0) != 0x80)
            boundary = used; /* a character starts here */
        if (used + needed > room) {
            *whole = false;
            return boundary;
        }
        memcpy(out + used, *at == '/' ? "__" : at == question ? "." : at, needed);
        used += needed;
    }
    *whole = true;
    return used;
}

void pk_result_name(char out[PK_RESULT_NAME_BYTES], const char *custom_id, size_t answer)
{
    char digest[PK_DIGEST_TEXT], tail[ANSWER_BYTES] = "";
    bool whole;
    const char *hash = strrchr(custom_id, '#');
    if (answer)
        snprintf(tail, sizeof tail, ".%zu", answer);
    size_t used = write_plain(out, PLAIN_BYTES_MAX, custom_id, hash, &whole);
    if (whole && is_reversible(custom_id, hash, answer)) {
        snprintf(out + used, PK_RESULT_NAME_BYTES - used, "%s%s", tail, ending);
        return;
    }
    used = write_plain(out, CUT_BYTES, custom_id, hash, &whole);
    if (out[0] == '.')
        out[0] = '_'; /* ../report.txt: the answer is not to be a hidden file */
    pk_digest_text(digest, pk_digest_of(custom_id, strlen(custom_id)));
    snprintf(out + used, PK_RESULT_NAME_BYTES - used, "~%.16s%s%s", digest, tail, ending);
}
