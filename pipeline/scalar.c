#include "pipeline/scalar.h"

#include "ipc/nearest.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

/* Reads digits into *out and moves *word behind them. False on overflow; no digits is for the caller to see. */
static bool take_digits(const char **word, uint64_t *out)
{
    uint64_t value = 0;
    for (; isdigit((unsigned char)**word); ++*word)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**word - '0'), &value))
            return false;
    *out = value;
    return true;
}

bool pk_scalar_whole(const char *word, uint64_t *out)
{
    const char *end = word;
    if (!isdigit((unsigned char)*word) || (word[0] == '0' && word[1]))
        return false;
    return take_digits(&end, out) && !*end;
}

static const char *skip_digits(const char *word)
{
    while (isdigit((unsigned char)*word))
        ++word;
    return word;
}

/* The shape alone: strtod would also take blanks, hexadecimal, "inf" and "nan". */
static bool is_real(const char *word)
{
    word += *word == '-' || *word == '+';
    const char *point = skip_digits(word), *end = point;
    if (*point == '.')
        end = skip_digits(point + 1);
    if (end - word - (*point == '.') < 1)
        return false;
    if (*end == 'e' || *end == 'E') {
        const char *digits = end + 1 + (end[1] == '-' || end[1] == '+');
        end = skip_digits(digits);
        if (end == digits)
            return false;
    }
    return !*end;
}

bool pk_scalar_real(const char *word, double *out)
{
    if (!is_real(word))
        return false;
    *out = strtod(word, NULL); /* the program never leaves the C locale */
    return isfinite(*out);
}

static bool unit_scale(const char *unit, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t scale;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"kB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", 1000000000000},
        {"KiB", 1ull << 10},
        {"MiB", 1ull << 20},
        {"GiB", 1ull << 30},
        {"TiB", 1ull << 40},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; ++i)
        if (!strcmp(unit, units[i].name)) {
            *out = units[i].scale;
            return true;
        }
    return false;
}

bool pk_scalar_bytes(const char *word, uint64_t *out)
{
    uint64_t whole = 0, scale = 0;
    wide fraction = 0, base = 1, bytes;
    if (!isdigit((unsigned char)*word) || !take_digits(&word, &whole))
        return false;
    if (*word == '.') {
        if (!isdigit((unsigned char)*++word))
            return false;
        for (; isdigit((unsigned char)*word); ++word)
            if (base < 1000000000000000000u) { /* further digits are below a byte of the largest unit */
                fraction = fraction * 10 + (unsigned)(*word - '0');
                base *= 10;
            }
    }
    if (!unit_scale(word, &scale))
        return false;
    bytes = (wide)whole * scale + fraction * scale / base;
    if (bytes >= (wide)1 << 63)
        return false;
    *out = (uint64_t)bytes;
    return true;
}

const char *pk_scalar_nearest(const char *word, const char *const *words)
{
    size_t length = strlen(word), best = length / 3 ? length / 3 : 1;
    const char *nearest = NULL;
    if (length < 2)
        return NULL;
    for (; *words; ++words) {
        size_t distance = pk_edit_distance(word, *words);
        if (distance < best || (distance == best && !nearest)) {
            best = distance;
            nearest = *words;
        }
    }
    return nearest;
}
