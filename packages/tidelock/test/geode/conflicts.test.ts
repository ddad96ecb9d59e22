/** A browser and Java change the same documents at the same time, over a real cluster. */
import { conflicts } from "../platform/conflicts.ts";
import { onGeode, REGIONS } from "./cluster.ts";
import type { RegionName } from "./cluster.ts";

conflicts((configs, body) => {
  const regions = new Map<string, RegionName>();
  for (const collection of Object.keys(configs)) {
    const region = REGIONS[regions.size];
    if (region === undefined) throw new Error(`the cluster has no region for ${collection}`);
    regions.set(collection, region);
  }
  const regionOf = (collection: string): RegionName => {
    const region = regions.get(collection);
    if (region === undefined) throw new Error(`there is no collection ${collection}`);
    return region;
  };
  const collections = Object.entries(configs).map(
    ([name, config]) => [name, { region: regionOf(name), config }] as const,
  );
  return onGeode(Object.fromEntries(collections), ({ stack, java }) =>
    body({
      stack,
      application: {
        get: (collection, key) => java.get(regionOf(collection), key),
        put: (collection, key, document) => java.put(regionOf(collection), key, document),
        remove: async (collection, key) => void (await java.run("destroy", regionOf(collection), key)),
      },
    }),
  );
});
