// The jobs of every peer written for Node: the identity on a number and on bytes, and a look at
// one byte of each page.

export const call = (x) => x;

export const back = (bytes) => bytes;

export function look(bytes) {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 4096) sum += bytes[at];
  return sum;
}
