#include "checksum.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

checksum_verdict checksum_matches(const char *text, const void *bytes, size_t size) {
  static const char *const known[] = {"sha1", "sha256", "sha512", "md5"};
  unsigned char given[EVP_MAX_MD_SIZE], own[EVP_MAX_MD_SIZE];
  size_t n_given = 0, length = strcspn(text, " ");
  unsigned n = 0;
  const EVP_MD *algorithm = NULL;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strlen(known[i]) == length && strncmp(known[i], text, length) == 0)
      algorithm = EVP_get_digestbyname(known[i]);
  if (!algorithm || text[length] != ' ' ||
      sodium_base642bin(given, sizeof given, text + length + 1, strlen(text + length + 1), NULL,
                        &n_given, NULL, sodium_base64_VARIANT_ORIGINAL) != 0 ||
      EVP_Digest(bytes, size, own, &n, algorithm, NULL) != 1)
    return CHECKSUM_UNKNOWN;
  return n == n_given && memcmp(own, given, n) == 0 ? CHECKSUM_FITS : CHECKSUM_DIFFERS;
}
