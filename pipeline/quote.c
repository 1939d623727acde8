#include "pipeline/quote.h"

#include <string.h>

typedef struct {
    const char *bytes;
    size_t count;
} words;

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Letters and digits; of other scripts every byte. */
static bool in_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static words trim(const char *bytes, size_t count)
{
    while (count && is_space(bytes[0])) {
        bytes++;
        count--;
    }
    while (count && is_space(bytes[count - 1]))
        count--;
    return (words){bytes, count};
}

/* Where `wanted` stands between `from` and the end of the text, with no letter or digit of it going on outside. */
static const char *find_whole(words text, const char *from, words wanted)
{
    const char *end = text.bytes + text.count, *at = from;
    while ((at = memmem(at, (size_t)(end - at), wanted.bytes, wanted.count))) {
        const char *behind = at + wanted.count;
        bool begins = at == text.bytes || !in_word(at[-1]) || !in_word(wanted.bytes[0]);
        bool ends = behind == end || !in_word(*behind) || !in_word(behind[-1]);
        if (begins && ends)
            return at;
        at++;
    }
    return NULL;
}

static words line_around(words text, const char *at)
{
    const char *before = memrchr(text.bytes, '\n', (size_t)(at - text.bytes));
    const char *begin = before ? before + 1 : text.bytes;
    const char *end = memchr(at, '\n', text.count - (size_t)(at - text.bytes));
    end = end ? end : text.bytes + text.count;
    if (end > begin && end[-1] == '\r')
        end--;
    return (words){begin, (size_t)(end - begin)};
}

/* Bytes of the question's words that the line has too. */
static size_t shared(words line, const char *question)
{
    size_t sum = 0;
    while (*question) {
        words word = {question, 0};
        while (in_word(question[word.count]))
            word.count++;
        if (word.count && find_whole(line, line.bytes, word))
            sum += word.count;
        question += word.count ? word.count : 1;
    }
    return sum;
}

bool pk_quote_find(pk_quote *out, const char *document, size_t document_bytes, const char *answer, size_t answer_bytes,
                   const char *question)
{
    words text = {document, document_bytes}, wanted = trim(answer, answer_bytes);
    size_t most = 0;
    memset(out, 0, sizeof *out);
    if (!wanted.count || memchr(wanted.bytes, '\n', wanted.count))
        return false;
    for (const char *at = document; (at = find_whole(text, at, wanted));) {
        words line = line_around(text, at);
        size_t found = shared(line, question);
        if (!out->line || found > most) {
            *out = (pk_quote){line.bytes, line.count, (size_t)(line.bytes - document)};
            most = found;
        }
        at = line.bytes + line.count > at ? line.bytes + line.count : at + 1;
    }
    return out->line != NULL;
}
