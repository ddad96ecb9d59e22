/** The two ways in: a factory of its own, or overrides on the prototype of the browser's factory. */
import { isEmpty, toDomString, toVersion } from "./convert.ts";
import { mapVersions } from "./gate.ts";
import { APPLICATION_VERSION_MAX, applicationVersion, mayBeMapped } from "./names.ts";
import { natives } from "./natives.ts";
import { openCaptured, seenAdopted } from "./open.ts";
import { guarded } from "./outbox.ts";
import { isAdopted } from "./schema.ts";
import type { CaptureConfig } from "./types.ts";

/** The methods of a factory that see the captured database. */
type FactoryMethods = Pick<IDBFactory, "open" | "deleteDatabase" | "databases">;

/** Native factories behind the wrapped ones, so that a wrapped factory can be wrapped again. */
const nativeFactories = new WeakMap<IDBFactory, IDBFactory>();

/**
 * A factory whose database `config.database` is captured. It is an `IDBFactory` to `instanceof`; every other database
 * passes through to `factory`, which is left as it is.
 */
export function wrapFactory(factory: IDBFactory, config: CaptureConfig): IDBFactory {
  const native = nativeFactories.get(factory) ?? factory;
  const methods = methodsOf(config, {
    open: (...args) => factory.open(...args),
    deleteDatabase: (...args) => factory.deleteDatabase(...args),
    databases: () => factory.databases(),
  });
  const wrapped = Object.create(Object.getPrototypeOf(factory) as object, {
    open: method("open", (...args: Parameters<IDBFactory["open"]>) => methods.open.call(native, ...args)),
    deleteDatabase: method("deleteDatabase", (...args: Parameters<IDBFactory["deleteDatabase"]>) =>
      methods.deleteDatabase.call(native, ...args),
    ),
    databases: method("databases", () => methods.databases.call(native)),
    cmp: method("cmp", (...args: Parameters<IDBFactory["cmp"]>) => factory.cmp(...args)),
  }) as IDBFactory;
  nativeFactories.set(wrapped, native);
  return wrapped;
}

/** Captures `config.database` for all code of the realm, by overriding the methods of `IDBFactory.prototype`. */
export function installFactory(config: CaptureConfig): void {
  natives();
  const prototype = IDBFactory.prototype;
  const { open, deleteDatabase, databases } = prototype;
  const methods = methodsOf(config, { open, deleteDatabase, databases });
  Object.defineProperties(prototype, {
    open: method("open", methods.open),
    deleteDatabase: method("deleteDatabase", methods.deleteDatabase),
    databases: method("databases", methods.databases),
  });
}

function methodsOf(config: CaptureConfig, next: FactoryMethods): FactoryMethods {
  return {
    open(this: IDBFactory, ...args: Parameters<IDBFactory["open"]>): IDBOpenDBRequest {
      if (isEmpty(args)) return next.open.apply(this, args);
      const name = toDomString(args[0]);
      if (name !== config.database) return next.open.call(this, name, args[1]);
      if (args[1] === undefined) return openCaptured(this, config, undefined);
      const version = toVersion(args[1]);
      if (Number.isNaN(version)) return natives().factory.open.call(this, name, version);
      if (version > APPLICATION_VERSION_MAX)
        throw new TypeError(`version ${version} is above ${APPLICATION_VERSION_MAX}`);
      return openCaptured(this, config, version);
    },
    deleteDatabase(this: IDBFactory, ...args: Parameters<IDBFactory["deleteDatabase"]>): IDBOpenDBRequest {
      if (isEmpty(args)) return next.deleteDatabase.apply(this, args);
      const name = toDomString(args[0]);
      return name === config.database ? deleteCaptured(this, config) : next.deleteDatabase.call(this, name);
    },
    async databases(this: IDBFactory): Promise<IDBDatabaseInfo[]> {
      const list = await next.databases.call(this);
      return Promise.all(list.map(async (info) => (info.name === config.database ? describe(this, info) : info)));
    },
  };
}

function method<F extends (...args: never[]) => unknown>(name: keyof IDBFactory, value: F): PropertyDescriptor {
  const length = name === "cmp" ? 2 : name === "databases" ? 0 : 1;
  Object.defineProperty(value, "name", { value: name, configurable: true });
  Object.defineProperty(value, "length", { value: length, configurable: true });
  return { value, writable: true, configurable: true, enumerable: true };
}

function deleteCaptured(factory: IDBFactory, config: CaptureConfig): IDBOpenDBRequest {
  const native = natives();
  const request = native.factory.deleteDatabase.call(factory, config.database);
  const map = (event: Event): void => {
    if (!event.isTrusted || !(event instanceof IDBVersionChangeEvent)) return;
    mapVersions(event, seenAdopted.has(config.database) || mayBeMapped(event.oldVersion));
  };
  native.listen.call(request, "blocked", map, true);
  const onSuccess = (event: Event): void => {
    map(event);
    seenAdopted.delete(config.database);
    guarded(() => config.onDeleted?.());
  };
  native.listen.call(request, "success", onSuccess, { capture: true, once: true });
  return request;
}

/** What `databases()` says of the captured database. Where its version can be read two ways, the database is asked. */
async function describe(factory: IDBFactory, info: IDBDatabaseInfo): Promise<IDBDatabaseInfo> {
  const { name, version } = info;
  if (name === undefined || version === undefined || !mayBeMapped(version)) return info;
  const adopted = seenAdopted.has(name) || (await probeAdopted(factory, name));
  return { name, version: applicationVersion(version, adopted) };
}

/** Whether a database is adopted; one that cannot be opened, or is gone, is not. */
function probeAdopted(factory: IDBFactory, name: string): Promise<boolean> {
  const native = natives();
  return new Promise((resolve) => {
    const request = native.factory.open.call(factory, name);
    request.onupgradeneeded = () => request.transaction?.abort();
    request.onerror = (event) => {
      event.preventDefault();
      resolve(false);
    };
    request.onsuccess = () => {
      const adopted = isAdopted(request.result);
      request.result.close();
      resolve(adopted);
    };
  });
}
