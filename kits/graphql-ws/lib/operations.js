"use strict";
// What graphql-ws tells of the operations of a session, by the functions in its options.

const { execute, getOperationAST, GraphQLError } = require("graphql");

const typeOf = (args) => getOperationAST(args.document, args.operationName)?.operation;

function instrument(options, kit) {
  const of = (ctx) => kit.byExtra.get(ctx.extra);
  const again = new WeakSet(); // arguments of operations that began on another server
  return {
    ...options,
    onConnect: async (ctx) => {
      of(ctx).connecting(ctx.connectionParams);
      return options.onConnect?.(ctx);
    },
    onSubscribe: async (ctx, id, payload) => {
      await of(ctx).begin(id, payload);
      const args = await options.onSubscribe?.(ctx, id, payload);
      if (args && of(ctx).repeats(id)) again.add(args);
      return args;
    },
    context: (ctx, id, payload, args) => {
      if (of(ctx).repeats(id)) again.add(args);
      return typeof options.context === "function" ? options.context(ctx, id, payload, args) : options.context;
    },
    onOperation: async (ctx, id, payload, args, result) => {
      if (typeOf(args) === "subscription") await of(ctx).advance(ctx, id, payload, args);
      return options.onOperation?.(ctx, id, payload, args, result);
    },
    onNext: async (ctx, id, payload, args, result) => {
      const changed = await options.onNext?.(ctx, id, payload, args, result);
      await of(ctx).advance(ctx, id, payload, args, changed || result);
      return changed;
    },
    // The old server may have executed a mutation, or part of it.
    execute: (args) => {
      if (again.has(args) && typeOf(args) === "mutation") {
        return { errors: [new GraphQLError("The server went away during this mutation. It may have been executed.", { extensions: { code: "SERVER_LOST" } })] };
      }
      return (options.execute ?? execute)(args);
    },
  };
}

module.exports = { instrument };
