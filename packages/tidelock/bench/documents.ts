/** The documents of the benches: about 250 bytes of JSON each, all different, made from a number alone. */

/** A card of a board, with key path `id`. */
export interface Card {
  readonly id: string;
  readonly list: string;
  readonly title: string;
  readonly text: string;
  readonly author: string;
  readonly labels: readonly string[];
  readonly done: boolean;
  readonly votes: number;
  readonly createdAt: number;
  readonly position: number;
}

/** Milliseconds since 1970 of the first document. */
const EPOCH_MS = 1_750_000_000_000;

const WORDS: readonly string[] =
  `able about account across action after again agree allow almost already although always amount answer appear area around arrive
  article aside author avoid balance bank basic battery because become before begin behind believe benefit better between board book
  border bottle bring broken budget build button buyer cable calendar call camera cancel careful carry case catch cause central chance
  change charge check choice city claim class clean clear client close collect colour column common company compare complete concern
  connect consider contact contain content contract control copy corner correct cost count country course cover create credit culture
  current customer daily damage danger data deal decide deep default degree delay deliver demand depend describe design detail develop
  device differ direct discuss display distance document double draft drive early edge edit effect effort either email empty enable
  engine enough enter entire equal error escape estimate even event every exact example except exchange expect expensive explain export
  express extend extra factory fail family feature field figure file filter final find finish first fixed floor focus follow force
  forget form forward frame free fresh friend front full function future garden gather general gentle ground group grow guide handle
  happen heavy height help hidden history hold honest hope hour house human idea image import improve include increase index inform
  inside install instead interest invite issue item journey judge jump keep kind kitchen label language large last launch layer lead
  learn leave length letter level library light limit line link list little local long lower machine main make manage manner market
  matter maybe measure meeting member memory mention merge message method middle minute mistake modern moment monitor month morning
  move music narrow nature near need network never night normal notice number object observe offer office often open option order other
  outside owner package page panel paper parent part partner pass patient pattern pause people perhaps period person phone picture
  place plain plan plant point policy popular position possible power practice prefer prepare present press price print private problem
  process produce profile program project promise proper protect provide public purpose quality question quick quiet quite random range
  rapid rather reach ready reason receive recent record reduce refer regular relate release remain remember remove repair repeat replace
  report request require research resolve respond result retry return review right river round route rule safe sample save scale scene
  schedule school screen search season second section secure select sense series serve session settle several shape share short should
  signal silent similar simple single size skill slow small social solid someone source space special speed spend spring stable stage
  standard start state station steady still stone stop store storm street strong structure student style subject submit success sudden
  suggest summer supply support surface system table task teach team tell term test text thank theory thing think thread ticket time
  title today together token topic total touch toward town track traffic train travel trouble trust turn under union unique unit until
  update upper urgent useful user usual value various version view village visit voice wait walk wall want warm warning watch water
  weather week weight whole wide window winter wish within without wonder word work world worth write wrong yard year yellow young`.split(
    /\s+/,
  );

const AUTHORS: readonly string[] = [
  "ann",
  "ben",
  "chloe",
  "dimitri",
  "emeka",
  "fatima",
  "goran",
  "hana",
  "ines",
  "jun",
  "kofi",
  "lena",
];
const LABELS: readonly string[] = [
  "bug",
  "design",
  "docs",
  "feature",
  "help",
  "idea",
  "later",
  "legal",
  "ops",
  "question",
  "urgent",
];

/** The document with a number. Ids are random letters and digits as applications draw them, times rise. */
export function cardOf(number: number): Card {
  const random = generator(number);
  const below = (limit: number): number => random() % limit;
  const pick = (list: readonly string[]): string => list[below(list.length)] ?? "";
  const words = (count: number): string => Array.from({ length: count }, () => WORDS[zipf(random())] ?? "").join(" ");
  const text = words(9 + below(8));
  return {
    id: Array.from({ length: 12 }, () => below(36).toString(36)).join(""),
    list: `list-${below(40)}`,
    title: words(2 + below(3)),
    text: `${text.charAt(0).toUpperCase()}${text.slice(1)}.`,
    author: pick(AUTHORS),
    labels: Array.from({ length: below(3) }, () => pick(LABELS)),
    done: below(3) === 0,
    votes: below(30),
    createdAt: EPOCH_MS + number * 61_000 + below(60_000),
    position: below(1_000_000) / 1000,
  };
}

/** Cards `first`, `first + 1`, … */
export function cards(first: number, count: number): Card[] {
  return Array.from({ length: count }, (_, index) => cardOf(first + index));
}

/** Bytes of the JSON texts of cards 0 to `count` - 1. */
export function jsonBytes(count: number): number {
  const encoder = new TextEncoder();
  let bytes = 0;
  for (let number = 0; number < count; number++) bytes += encoder.encode(JSON.stringify(cardOf(number))).length;
  return bytes;
}

/** A rank as in natural text: the word of rank n is about n times as rare as the first (Zipf's law). */
function zipf(random: number): number {
  return Math.floor(WORDS.length ** (random / 2 ** 32)) - 1;
}

/** The splitmix32 generator: unsigned 32-bit numbers. */
function generator(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}
