/* weight_list.h - the tensors that a checkpoint of a model must have, as one sorted list: for telling what is missing,
 * what is not the model's, and which name was meant. */
#ifndef PK_LOADER_WEIGHT_LIST_H
#define PK_LOADER_WEIGHT_LIST_H

#include "loader/names.h"

/* A tensor that is expected: `place` of its first weight. */
typedef struct {
    pk_weight_place place;
    pk_weight weight;
} pk_weight_item;

typedef struct {
    size_t count;
    pk_weight_item *items; /* in order of name, each name once */
} pk_weight_list;

/* The config is untrusted: PK_INVALID when it asks for more than PK_WEIGHT_LIST_MAX tensors. PK_NOMEM. */
enum { PK_WEIGHT_LIST_MAX = 1 << 20 };
pk_err pk_weight_list_init(pk_weight_list *list, const pk_model_config *config, pk_naming naming);
void pk_weight_list_fini(pk_weight_list *list);

const pk_weight_item *pk_weight_list_find(const pk_weight_list *list, const char *name); /* NULL: no weight's */

/* For finding the name that `missing`, a name of the list, was probably spelled as: whether `candidate`, a tensor that
 * is there, is not the list's and nearer than *best, which then says how near. Begin with PK_WEIGHT_LIST_NEAR(missing).
 */
#define PK_WEIGHT_LIST_NEAR(missing) (strlen(missing) / 3 + 1)
bool pk_weight_list_nearer(const pk_weight_list *list, const char *missing, const char *candidate, size_t *best);

#endif
