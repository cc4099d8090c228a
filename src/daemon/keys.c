#include "tickerd/daemon/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tickerd/base/err.h"
#include "tickerd/base/file.h"
#include "tickerd/base/log.h"

enum { KEY_FILE_MAX = 1 << 20 };

struct loader {
    struct keyring *keys;
    struct buf *errors;
    bool failed;
};

/* Which key, and where it is: "auth.keys[1] (ES256, /etc/tickerd/login.pem)". A name that may be
 * the key itself, put into the wrong place, is not told: it leads nowhere. */
static void put_place(struct buf *out, const struct auth_key *key, size_t index, bool found)
{
    buf_printf(out, "auth.keys[%zu] (%s", index, token_alg_name(key->alg));
    if (key->file != NULL && (found || strchr("/.", key->file[0]) != NULL))
        buf_printf(out, ", %s", key->file);
    else if (key->file != NULL)
        buf_str(out, ", file");
    else if (found)
        buf_printf(out, ", %s", key->env);
    else
        buf_str(out, ", env");
    buf_byte(out, ')');
}

static void complain(struct loader *l, struct buf *place, const char *why)
{
    buf_printf(l->errors, "%s: %s\n", buf_cstr(place), why);
    l->failed = true;
}

/* What file_read has to say; NULL: nothing. */
static const char *why_unread(int err, const struct buf *text)
{
    if (err == ERR_TOO_LONG)
        return "the file is larger than 1 MiB, which no key is";
    if (err == ERR_NOMEM)
        return err_text(err);
    if (err != ERR_OK && errno == EACCES)
        return "Permission denied: let the user that tickerd runs as read it";
    if (err != ERR_OK)
        return strerror(errno);
    return text->len == 0 ? "the file is empty" : NULL;
}

/* One newline, which editors and echo put behind a secret, is not of it. */
static void drop_newline(struct buf *text)
{
    if (text->len > 0 && text->data[text->len - 1] == '\n')
        text->len--;
    else
        return;
    if (text->len > 0 && text->data[text->len - 1] == '\r')
        text->len--;
}

static void warn_if_open(const char *place, mode_t mode)
{
    if (S_ISREG(mode) && (mode & S_IROTH) != 0)
        log_warn("%s: everybody on this machine may read the secret, and make tokens with it: "
                 "chmod o-r it",
                 place);
}

/* False: the reason is told. */
static bool read_file(struct loader *l, const struct auth_key *key, size_t index, struct buf *text)
{
    struct buf place = BUF_INIT;
    mode_t mode = 0;
    int err = file_read(text, key->file, KEY_FILE_MAX, &mode);
    const char *why = why_unread(err, text);
    put_place(&place, key, index, err != ERR_UNKNOWN);
    if (why != NULL) {
        complain(l, &place, why);
    } else if (token_alg_is_secret(key->alg)) {
        drop_newline(text);
        warn_if_open(buf_cstr(&place), mode);
    }
    buf_finish(&place);
    return why == NULL;
}

static bool read_env(struct loader *l, const struct auth_key *key, size_t index, struct buf *text)
{
    const char *value = getenv(key->env);
    struct buf place = BUF_INIT;
    if (value == NULL || *value == '\0') {
        put_place(&place, key, index, false);
        complain(l, &place,
                 value == NULL ? "the environment variable that env names is not set"
                               : "the environment variable that env names is empty");
    } else {
        buf_str(text, value);
    }
    buf_finish(&place);
    return value != NULL && *value != '\0';
}

static void load_key(struct loader *l, const struct auth_key *key, size_t index)
{
    struct buf text = BUF_INIT, why = BUF_INIT, place = BUF_INIT;
    bool there =
        key->file != NULL ? read_file(l, key, index, &text) : read_env(l, key, index, &text);
    put_place(&place, key, index, there);
    int err = !there        ? ERR_OK
              : text.failed ? ERR_NOMEM
                            : keyring_add(l->keys, key->alg, key->kid, text.data, text.len, &why);
    if (err != ERR_OK)
        complain(l, &place, err == ERR_NOMEM ? err_text(err) : buf_cstr(&why));
    buf_finish(&place);
    buf_finish(&why);
    buf_forget(&text);
}

static void load_jwks(struct loader *l, const char *path)
{
    struct buf text = BUF_INIT, why = BUF_INIT, place = BUF_INIT;
    mode_t mode = 0;
    int err = file_read(&text, path, KEY_FILE_MAX, &mode);
    const char *unread = why_unread(err, &text);
    bool shown = err != ERR_UNKNOWN || strchr("/.", path[0]) != NULL;
    buf_printf(&place, "auth.jwks_file%s%s", shown ? ": " : "", shown ? path : "");
    if (unread != NULL) {
        complain(l, &place, unread);
    } else {
        err = keyring_add_jwks(l->keys, text.data, text.len, &why);
        if (err != ERR_OK)
            complain(l, &place, err == ERR_NOMEM ? err_text(err) : buf_cstr(&why));
        else if (keyring_has_secret(l->keys))
            warn_if_open(buf_cstr(&place), mode);
    }
    buf_finish(&place);
    buf_finish(&why);
    buf_forget(&text);
}

struct keyring *keys_load(const struct config *c, struct buf *errors)
{
    struct loader l = {keyring_create(), errors, false};
    if (l.keys == NULL) {
        buf_printf(errors, "%s\n", err_text(ERR_NOMEM));
        return NULL;
    }
    if (c->auth.mode == AUTH_OFF)
        return l.keys;
    if (c->auth.jwks_file != NULL) /* first, so that its secrets are told from those of the keys */
        load_jwks(&l, c->auth.jwks_file);
    for (size_t i = 0; i < c->auth.key_count; i++)
        load_key(&l, &c->auth.keys[i], i);
    if (!l.failed)
        return l.keys;
    keyring_destroy(l.keys);
    return NULL;
}
