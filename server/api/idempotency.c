/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a client that has not seen an answer
 * sends the request again, with the same key, and gets the first answer instead of a second model.
 *
 * The key is taken before the handler runs, and the answer is kept before it is sent, so that a
 * client which has an answer finds it again. A request that was refused for the moment (429, 5xx)
 * gives its key back. The store has hashes of keys, and bodies that only the key opens: an answer
 * may have a secret in it. */
#include "store/idempotency.h"
#include "api.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEYS = 1000, MOST_KEY = 255, BASE64 = sodium_base64_VARIANT_ORIGINAL };

struct api_idempotency {
  char hash[SECRET_HASH];
  unsigned char secret[crypto_secretbox_KEYBYTES];
  bool ended; /* kept, or given back */
};

/* Headers of an answer that are answered again. */
static const char *const kept_headers[] = {"location", "etag", "tus-resumable", NULL};
/* Those of a request that say what it is about, beside its body. */
static const char *const read_headers[] = {"upload-length", "upload-defer-length",
                                           "upload-metadata", NULL};

/* ---- the key and the request ---- */

/* The text of the header, which may be in quotation marks; false: it is none. */
static bool read_key(const char *header, char key[MOST_KEY + 1]) {
  size_t n = strlen(header);
  if (n >= 2 && header[0] == '"' && header[n - 1] == '"') {
    header++;
    n -= 2;
  }
  if (n < 1 || n > MOST_KEY) return false;
  memcpy(key, header, n);
  key[n] = '\0';
  return true;
}

/* With the NUL, so that no two lists of texts are hashed as the same bytes. */
static void hash_text(crypto_generichash_state *state, const char *text) {
  if (!text) text = "";
  crypto_generichash_update(state, (const unsigned char *)text, strlen(text) + 1);
}

static void hash_request(const http_request *r, char hash[SECRET_HASH]) {
  unsigned char bytes[crypto_generichash_BYTES];
  crypto_generichash_state state;
  size_t size;
  const void *body = http_body(r, &size);
  crypto_generichash_init(&state, NULL, 0, sizeof bytes);
  hash_text(&state, http_method(r));
  hash_text(&state, http_path(r));
  hash_text(&state, http_query(r));
  for (int i = 0; read_headers[i]; i++) hash_text(&state, http_header(r, read_headers[i]));
  crypto_generichash_update(&state, body, size);
  crypto_generichash_final(&state, bytes, sizeof bytes);
  sodium_bin2hex(hash, SECRET_HASH, bytes, sizeof bytes);
}

/* What bodies are encrypted with: nobody who has the store alone, or the server's key alone, knows
 * it. */
static void derive(const api *a, const char *key, unsigned char out[crypto_secretbox_KEYBYTES]) {
  unsigned char ours[TOKEN_DERIVED];
  token_key_derive(a->key, "idempotency", ours);
  crypto_generichash(out, crypto_secretbox_KEYBYTES, (const unsigned char *)key, strlen(key), ours,
                     sizeof ours);
  sodium_memzero(ours, sizeof ours);
}

/* ---- bodies, encrypted: a nonce and the box, in base64 ---- */

enum { NONCE = crypto_secretbox_NONCEBYTES, EXTRA = NONCE + crypto_secretbox_MACBYTES };

/* The caller's; NULL: no memory. */
static char *seal(const unsigned char *secret, const void *body, size_t size) {
  size_t room = sodium_base64_encoded_len(size + EXTRA, BASE64);
  unsigned char *box = malloc(size + EXTRA);
  char *text = box ? malloc(room) : NULL;
  if (text) {
    randombytes_buf(box, NONCE);
    crypto_secretbox_easy(box + NONCE, body, size, box, secret);
    sodium_bin2base64(text, room, box, size + EXTRA, BASE64);
  }
  free(box);
  return text;
}

/* The caller's; NULL: it was made with another key, or no memory. */
static unsigned char *unseal(const unsigned char *secret, const char *text, size_t *size) {
  size_t n = 0, length = strlen(text);
  unsigned char *box = malloc(length + 1), *body = malloc(length + 1);
  bool ok =
      box && body && sodium_base642bin(box, length, text, length, NULL, &n, NULL, BASE64) == 0 &&
      n >= EXTRA && crypto_secretbox_open_easy(body, box + NONCE, n - NONCE, box, secret) == 0;
  free(box);
  *size = ok ? n - EXTRA : 0;
  if (ok) return body;
  free(body);
  return NULL;
}

/* ---- before the handler ---- */

static void answer_again(api_call *call, const json_t *row, const unsigned char *secret) {
  size_t size;
  unsigned char *body = unseal(secret, store_text(row, "body"), &size);
  json_t *headers = json_loads(store_text(row, "headers"), 0, NULL);
  for (int i = 0; kept_headers[i]; i++) {
    const char *value = store_text(headers, kept_headers[i]);
    if (value) api_add_header(call, kept_headers[i], "%s", value);
  }
  json_decref(headers);
  if (body)
    api_reply_bytes(call, (int)store_integer(row, "status"), store_text(row, "type"), body, size);
  else
    api_fail(call, 500, "the first answer to this Idempotency-Key cannot be read any more");
  free(body);
}

static void refuse(api_call *call, idempotency_verdict why) {
  switch (why) {
  case IDEMPOTENCY_UNDER_WAY:
    api_add_header(call, "retry-after", "1");
    api_fail(call, 409, "the first request with this Idempotency-Key is still under way");
    break;
  case IDEMPOTENCY_OTHER:
    api_fail(call, 422, "this Idempotency-Key came with another request; take a new one");
    break;
  case IDEMPOTENCY_TOO_MANY:
    api_fail(call, 429, "the account has used %d keys within 24 hours; go on without", MOST_KEYS);
    break;
  default: api_fail_store(call);
  }
}

bool api_idempotency_begin(api_call *call) {
  const char *header = http_header(call->request, "idempotency-key");
  char key[MOST_KEY + 1], request[SECRET_HASH];
  json_t *row;
  if (!(call->route->how & API_IDEMPOTENT) || !header) return true;
  if (!read_key(header, key)) {
    api_fail(call, 400, "Idempotency-Key must have 1 to %d bytes", MOST_KEY);
    return false;
  }
  struct api_idempotency *k = calloc(1, sizeof *k);
  if (!k) {
    api_fail(call, 503, "out of memory");
    return false;
  }
  secret_hash(key, k->hash);
  derive(call->api, key, k->secret);
  hash_request(call->request, request);
  int64_t now = context_now();
  idempotency_verdict v = idempotency_begin(call->store,
                                            &(idempotency_request){.user = call->user.id,
                                                                   .now = now,
                                                                   .since = now - API_KEY_SECONDS,
                                                                   .most = MOST_KEYS,
                                                                   .key = k->hash,
                                                                   .request = request},
                                            &row);
  if (v == IDEMPOTENCY_NEW) {
    call->idempotency = k;
    return true;
  }
  if (v == IDEMPOTENCY_ANSWERED)
    answer_again(call, row, k->secret);
  else
    refuse(call, v);
  json_decref(row);
  sodium_memzero(k, sizeof *k);
  free(k);
  return false;
}

/* ---- with the answer ---- */

static char *headers_of(const api_call *call) {
  json_t *headers = json_object();
  for (int i = 0; kept_headers[i]; i++)
    for (int j = 0; j < call->n_extra; j++)
      if (strcmp(call->extra[j].name, kept_headers[i]) == 0)
        json_object_set_new(headers, kept_headers[i], json_string(call->extra[j].value));
  char *text = json_dumps(headers, JSON_COMPACT);
  json_decref(headers);
  return text;
}

void api_idempotency_keep(api_call *call, int status, const char *type, const void *body,
                          size_t size) {
  struct api_idempotency *k = call->idempotency;
  if (!k || k->ended) return;
  k->ended = true;
  if (status == 429 || status >= 500) {
    idempotency_release(call->store, call->user.id, k->hash);
    return;
  }
  char *text = seal(k->secret, body ? body : "", size), *headers = headers_of(call);
  /* Where it cannot be kept the key stays taken: what was done is not done again. */
  if (!text || !headers ||
      idempotency_keep(call->store, call->user.id, k->hash, status, type, headers, text) < 0)
    api_log("idempotency", call, call->user.id, NULL, "the answer could not be kept");
  free(text);
  free(headers);
}

void api_idempotency_end(api_call *call) {
  struct api_idempotency *k = call->idempotency;
  if (!k) return;
  if (!k->ended) idempotency_release(call->store, call->user.id, k->hash);
  sodium_memzero(k, sizeof *k);
  free(k);
  call->idempotency = NULL;
}
