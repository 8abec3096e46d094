# The gate as an image: docker build --tag postern:0.1.0 .
#
# It runs as a user without a name and writes nothing to its own file system, so that both may be read-only.
# Its configuration is at /etc/postern/postern.yaml; docs/deploy.md says what else it is given.

FROM node:24.21.0-bookworm-slim AS build
WORKDIR /opt/postern
COPY package.json package-lock.json ./
# No script of a package runs: only those that development needs have one.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN node node_modules/typescript/bin/tsc -p tsconfig.build.json
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production
# Where `ops.listen` of the configuration is, for the health check below.
ENV POSTERN_LIVEZ=http://127.0.0.1:8080/livez
WORKDIR /opt/postern
COPY --from=build /opt/postern/node_modules node_modules
COPY --from=build /opt/postern/dist dist
COPY config config
COPY package.json LICENSE ./
USER 65532:65532
EXPOSE 26257 26258 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch(process.env.POSTERN_LIVEZ).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# No core dump: tokens and keys may be in memory. By `exec` the gate itself gets the signals.
ENTRYPOINT ["/bin/sh", "-c", "ulimit -c 0 && exec node /opt/postern/dist/main.js \"$@\"", "postern"]
CMD ["serve", "--config", "/etc/postern/postern.yaml"]
