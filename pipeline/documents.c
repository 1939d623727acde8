#include "pipeline/documents.h"

#include "ipc/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static const char stdin_name[] = "stdin";

/* A list that grows; also of folders still to be walked. */
struct list {
    pk_document *items;
    size_t count, capacity;
};

static void fini_document(pk_document *document)
{
    free(document->name);
    free(document->path);
    free(document->message);
    free(document->text);
    *document = (pk_document){0};
}

static void fini_list(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        fini_document(&list->items[i]);
    free(list->items);
    *list = (struct list){0};
}

/* Takes `document`, also on failure. */
static pk_err append(struct list *list, pk_document document)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        pk_document *grown = reallocarray(list->items, capacity, sizeof *grown);
        if (!grown) {
            fini_document(&document);
            return pk_fail(PK_NOMEM, "no memory for %zu documents", capacity);
        }
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = document;
    return PK_OK;
}

/* Without empty and `.` parts, so that one file has one spelling (`..` stays: what it means depends on links). */
static char *plain_path(const char *path)
{
    char *out = malloc(strlen(path) + 2);
    if (!out)
        return NULL;
    size_t used = 0;
    bool absolute = *path == '/';
    if (absolute)
        out[used++] = '/';
    for (const char *at = path; *at;) {
        size_t bytes = strcspn(at, "/");
        if (bytes && !(bytes == 1 && *at == '.')) {
            if (used > (size_t)absolute)
                out[used++] = '/';
            memcpy(out + used, at, bytes);
            used += bytes;
        }
        at += bytes + (at[bytes] == '/');
    }
    if (!used && *path)
        out[used++] = '.';
    out[used] = '\0';
    return out;
}

/* Bytes from `at` on that can stand in a name as they are: UTF-8 without U+FFFD, which is our mark. */
static size_t plain_bytes(const char *at)
{
    size_t bytes = strlen(at), bad;
    if (!pk_utf8_check(at, bytes, &bad))
        bytes = bad;
    const char *mark = memmem(at, bytes, "\xEF\xBF\xBD", 3);
    return mark ? (size_t)(mark - at) : bytes;
}

/* The path as UTF-8. Different paths have different names: each byte that cannot stand is marked and spelled out. */
static char *name_of(const char *path)
{
    const char *prefix = strcmp(path, stdin_name) ? "" : "./"; /* a file of that name is not standard input */
    char *out = malloc(strlen(prefix) + 5 * strlen(path) + 1);
    if (!out)
        return NULL;
    char *to = stpcpy(out, prefix);
    while (*path) {
        size_t bytes = plain_bytes(path);
        to = mempcpy(to, path, bytes);
        path += bytes;
        if (*path)
            to += sprintf(to, "\xEF\xBF\xBD%02X", (unsigned char)*path++);
    }
    *to = '\0';
    return out;
}

/* Appends what is to be read at `path`; with a code, why it cannot be. Takes `message` (NULL with a code: no memory).
 */
static pk_err add(struct list *list, const char *path, const char *code, char *message)
{
    pk_document document = {.name = name_of(path), .path = strdup(path), .code = code, .message = message};
    if (document.name && document.path && (message || !code))
        return append(list, document);
    fini_document(&document);
    return pk_fail(PK_NOMEM, "no memory for a document");
}

static char *message_of_errno(void)
{
    char *message = NULL;
    return asprintf(&message, "%s", strerror(errno)) < 0 ? NULL : message;
}

static const char *code_of_errno(void)
{
    return errno == ENOENT || errno == ENOTDIR ? PK_DOCUMENT_NOT_FOUND : PK_DOCUMENT_UNREADABLE;
}

static pk_err add_unreachable(struct list *list, const char *path)
{
    const char *code = code_of_errno();
    return add(list, path, code, message_of_errno());
}

/* ".txt" of "notes/a.txt"; "" without one. */
static const char *ending_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    const char *dot = strrchr(file, '.');
    return dot && dot != file ? dot : "";
}

static bool is_text(const char *path)
{
    const char *ending = ending_of(path);
    return !strcasecmp(ending, ".txt") || !strcasecmp(ending, ".md");
}

static pk_err add_unsupported(struct list *list, const char *path)
{
    char *message = NULL, *name = name_of(path);
    if (!name)
        return pk_fail(PK_NOMEM, "no memory for a document");
    const char *ending = ending_of(name);
    int length;
    if (*ending)
        length = asprintf(&message, "no filter for %s in this version, expected .txt or .md", ending);
    else
        length = asprintf(&message, "no filter for a file without an ending in this version, expected .txt or .md");
    free(name);
    return add(list, path, PK_DOCUMENT_UNSUPPORTED_KIND, length < 0 ? NULL : message);
}

struct walk {
    struct list documents;
    struct list folders; /* still to be read; only `path` is used */
    size_t skipped;
};

/* One entry of a folder. Takes `path`. */
static pk_err visit(struct walk *walk, char *path)
{
    struct stat status;
    pk_err err = PK_OK;
    bool known = !lstat(path, &status);
    bool linked = known && S_ISLNK(status.st_mode);
    if (known && S_ISDIR(status.st_mode))
        return append(&walk->folders, (pk_document){.path = path});
    if (linked)
        known = !stat(path, &status);
    if (!is_text(path) || (known && !S_ISREG(status.st_mode)))
        walk->skipped++; /* also a folder behind a link: following it could go round in circles */
    else if (!known)
        err = add_unreachable(&walk->documents, path);
    else
        err = add(&walk->documents, path, NULL, NULL);
    free(path);
    return err;
}

static char *join(const char *folder, const char *entry)
{
    char *path = NULL;
    if (!strcmp(folder, "."))
        return strdup(entry);
    bool slashed = *folder && folder[strlen(folder) - 1] == '/';
    return asprintf(&path, "%s%s%s", folder, slashed ? "" : "/", entry) < 0 ? NULL : path;
}

static pk_err read_folder(struct walk *walk, const char *folder)
{
    pk_err err = PK_OK;
    struct dirent *entry;
    DIR *dir = opendir(folder);
    if (!dir)
        return add_unreachable(&walk->documents, folder);
    while (!err && (errno = 0, entry = readdir(dir))) {
        if (*entry->d_name == '.')
            continue;
        char *path = join(folder, entry->d_name);
        err = path ? visit(walk, path) : pk_fail(PK_NOMEM, "no memory for a path");
    }
    if (!err && errno)
        err = add_unreachable(&walk->documents, folder);
    closedir(dir);
    return err;
}

static int compare_paths(const void *left, const void *right)
{
    const pk_document *a = left, *b = right;
    return strcmp(a->path, b->path);
}

/* Moves all of `from` behind `to`; what could not be moved stays. */
static pk_err move_all(struct list *to, struct list *from)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < from->count && !err; i++) {
        err = append(to, from->items[i]);
        from->items[i] = (pk_document){0};
    }
    return err;
}

/* A list of folders to do, not a recursion: a deep tree costs neither stack nor descriptors. */
static pk_err add_folder(struct list *list, size_t *skipped, const char *path)
{
    struct walk walk = {0};
    pk_err err = read_folder(&walk, path);
    while (!err && walk.folders.count) {
        pk_document folder = walk.folders.items[--walk.folders.count];
        err = read_folder(&walk, folder.path);
        fini_document(&folder);
    }
    if (walk.documents.count)
        qsort(walk.documents.items, walk.documents.count, sizeof *walk.documents.items, compare_paths);
    if (!err)
        err = move_all(list, &walk.documents);
    *skipped += walk.skipped;
    fini_list(&walk.documents);
    fini_list(&walk.folders);
    return err;
}

static pk_err add_stdin(struct list *list)
{
    char *name = strdup(stdin_name);
    return name ? append(list, (pk_document){.name = name}) : pk_fail(PK_NOMEM, "no memory for a document");
}

static pk_err add_path(struct list *list, size_t *skipped, const char *path)
{
    struct stat status;
    if (stat(path, &status))
        return add_unreachable(list, path);
    if (S_ISDIR(status.st_mode))
        return add_folder(list, skipped, path);
    return is_text(path) ? add(list, path, NULL, NULL) : add_unsupported(list, path);
}

static pk_err add_input(struct list *list, size_t *skipped, const char *input)
{
    if (!strcmp(input, "-"))
        return add_stdin(list);
    char *path = plain_path(input);
    if (!path)
        return pk_fail(PK_NOMEM, "no memory for a path");
    pk_err err = add_path(list, skipped, path);
    free(path);
    return err;
}

/* By name, the earlier in the list first. */
static int compare_places(const void *left, const void *right)
{
    const pk_document *a = *(pk_document *const *)left, *b = *(pk_document *const *)right;
    int order = strcmp(a->name, b->name);
    return order ? order : (a > b) - (a < b);
}

/* Frees the names of those that have the name of an earlier one. */
static void mark_doubles(pk_document **places, size_t count)
{
    for (size_t i = 1, first = 0; i < count; i++) {
        if (strcmp(places[first]->name, places[i]->name)) {
            first = i;
            continue;
        }
        free(places[i]->name);
        places[i]->name = NULL;
    }
}

/* Keeps the first of those with one name (names are as different as paths), in order. */
static pk_err drop_doubles(struct list *list)
{
    size_t kept = 0;
    pk_document **places = calloc(list->count + 1, sizeof *places);
    if (!places)
        return pk_fail(PK_NOMEM, "no memory for %zu documents", list->count);
    for (size_t i = 0; i < list->count; i++)
        places[i] = &list->items[i];
    qsort(places, list->count, sizeof *places, compare_places);
    mark_doubles(places, list->count);
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].name)
            list->items[kept++] = list->items[i];
        else
            fini_document(&list->items[i]);
    }
    list->count = kept;
    free(places);
    return PK_OK;
}

pk_err pk_documents_collect(pk_documents *out, const char *const *inputs, size_t count)
{
    pk_err err = PK_OK;
    struct list list = {0};
    size_t skipped = 0;

    *out = (pk_documents){0};
    for (size_t i = 0; i < count && !err; i++)
        err = add_input(&list, &skipped, inputs[i]);
    if (!err)
        err = drop_doubles(&list);
    if (err) {
        fini_list(&list);
        return err;
    }
    *out = (pk_documents){.items = list.items, .count = list.count, .skipped = skipped};
    return PK_OK;
}

void pk_documents_fini(pk_documents *documents)
{
    struct list list = {.items = documents->items, .count = documents->count};
    fini_list(&list);
    *documents = (pk_documents){0};
}
