#include "checksum.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct checksum {
  EVP_MD_CTX *state;
  unsigned char wanted[EVP_MAX_MD_SIZE];
  size_t size;
};

static const EVP_MD *find_algorithm(const char *name, size_t length) {
  static const char *const known[] = {"sha1", "sha256", "sha512", "md5"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strlen(known[i]) == length && strncmp(known[i], name, length) == 0)
      return EVP_get_digestbyname(known[i]);
  return NULL;
}

checksum *checksum_begin(const char *text) {
  size_t length = strcspn(text, " ");
  const EVP_MD *algorithm = find_algorithm(text, length);
  checksum *c = algorithm && text[length] ? calloc(1, sizeof *c) : NULL;
  if (!c) return NULL;
  text += length + 1;
  if (sodium_base642bin(c->wanted, sizeof c->wanted, text, strlen(text), NULL, &c->size, NULL,
                        sodium_base64_VARIANT_ORIGINAL) == 0 &&
      (c->state = EVP_MD_CTX_new()) && EVP_DigestInit_ex(c->state, algorithm, NULL) == 1)
    return c;
  EVP_MD_CTX_free(c->state);
  free(c);
  return NULL;
}

void checksum_add(checksum *c, const void *bytes, size_t size) {
  EVP_DigestUpdate(c->state, bytes, size);
}

bool checksum_end(checksum *c) {
  unsigned char own[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  bool fits =
      EVP_DigestFinal_ex(c->state, own, &n) == 1 && n == c->size && memcmp(own, c->wanted, n) == 0;
  EVP_MD_CTX_free(c->state);
  free(c);
  return fits;
}
