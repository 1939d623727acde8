#include "loader/weight_list.h"

#include "ipc/nearest.h"

#include <stdlib.h>
#include <string.h>

static int compare_items(const void *left, const void *right)
{
    const pk_weight_item *a = left, *b = right;
    return strcmp(a->place.name, b->place.name);
}

/* Of a fused tensor every weight but the first. Asked of every weight that a config can name, some millions: no name
 * is put together for it. */
static bool is_listed_already(pk_naming naming, pk_weight weight)
{
    bool fused = naming == PK_NAMES_IN_TREE && pk_weight_scope_of(weight.role) == PK_WEIGHT_OF_EXPERT;
    return fused && (weight.expert > 0 || weight.role == PK_WEIGHT_EXPERT_UP);
}

static pk_err count_items(const pk_model_config *config, pk_naming naming, size_t *out)
{
    pk_weight weight;
    *out = 0;
    for (pk_weight_walk walk = {0}; pk_weight_next(config, &walk, &weight);)
        if (!is_listed_already(naming, weight) && ++*out > PK_WEIGHT_LIST_MAX)
            return pk_fail(PK_INVALID, "the config asks for more than %d tensors", PK_WEIGHT_LIST_MAX);
    return PK_OK;
}

pk_err pk_weight_list_init(pk_weight_list *list, const pk_model_config *config, pk_naming naming)
{
    pk_weight weight;
    size_t count;
    *list = (pk_weight_list){0};
    pk_err err = count_items(config, naming, &count);
    if (err)
        return err;
    if (!(list->items = calloc(count + 1, sizeof *list->items)))
        return pk_fail(PK_NOMEM, "a list of %zu tensors", count);
    for (pk_weight_walk walk = {0}; pk_weight_next(config, &walk, &weight);)
        if (!is_listed_already(naming, weight))
            list->items[list->count++] =
                (pk_weight_item){.place = pk_weight_stored(config, naming, weight), .weight = weight};
    qsort(list->items, list->count, sizeof *list->items, compare_items);
    return PK_OK;
}

void pk_weight_list_fini(pk_weight_list *list)
{
    free(list->items);
    *list = (pk_weight_list){0};
}

static int compare_name(const void *key, const void *item)
{
    return strcmp(key, ((const pk_weight_item *)item)->place.name);
}

const pk_weight_item *pk_weight_list_find(const pk_weight_list *list, const char *name)
{
    return bsearch(name, list->items, list->count, sizeof *list->items, compare_name);
}

bool pk_weight_list_nearer(const pk_weight_list *list, const char *missing, const char *candidate, size_t *best)
{
    if (pk_weight_list_find(list, candidate) || pk_weight_is_constant(candidate))
        return false;
    size_t distance = pk_edit_distance(missing, candidate);
    bool nearer = distance < *best;
    if (nearer)
        *best = distance;
    return nearer;
}
