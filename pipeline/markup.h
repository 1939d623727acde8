/* markup.h - text of a person's made safe to stand in HTML, SVG and the like.
 *
 * What is written is well-formed UTF-8 without control characters but line ends and tabs, whatever comes in: names of
 * documents are bytes that somebody else chose. Whether writing failed is for the caller to ask of the stream. */
#ifndef PK_PIPELINE_MARKUP_H
#define PK_PIPELINE_MARKUP_H

#include <stdio.h>

/* As text between tags or in a quoted attribute: & < > " ' become entities, other control characters U+FFFD. */
void pk_markup_text(FILE *out, const char *text);

/* Makes `text` well-formed UTF-8 (ill-formed parts become U+FFFD) and hands it on in pieces, each ended by NUL. */
void pk_markup_mended(FILE *out, const char *text, void (*put)(FILE *out, const char *piece));

#endif
