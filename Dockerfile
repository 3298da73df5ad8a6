# docker build .                    the proxy (the last stage)
# docker build --target backend .   the sample app of examples/backend

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ENV CGO_ENABLED=0
RUN go build -trimpath -ldflags "-X main.version=$VERSION" -o /out/parachute ./cmd/parachute
RUN go build -trimpath -o /out/backend ./examples/backend
# Scratch has no mkdir: the proxy's two folders are copied from here.
RUN mkdir -p /out/folders/parachute && chmod 0700 /out/folders/parachute

FROM scratch AS backend
COPY --from=build /out/backend /usr/local/bin/backend
ENV PATH=/usr/local/bin PORT=3000
EXPOSE 3000
USER 65532:65532
CMD ["backend"]

FROM scratch AS proxy
LABEL org.opencontainers.image.title=parachute \
      org.opencontainers.image.description="A reverse proxy for deploys without downtime" \
      org.opencontainers.image.licenses=MIT
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/parachute /usr/local/bin/parachute
# A volume that is mounted empty takes over the owner and mode of the folder
# below it, so both belong to the user that the proxy runs as.
COPY --from=build --chown=65532:65532 /out/folders/ /var/lib/
COPY --from=build --chown=65532:65532 /out/folders/ /run/
ENV PATH=/usr/local/bin \
    PARACHUTE_DATA_DIR=/var/lib/parachute \
    PARACHUTE_SOCKET=/run/parachute/parachute.sock
# The certificates and their keys are in the first.
VOLUME ["/var/lib/parachute", "/run/parachute"]
# Docker lets any user in a container listen below 1024.
# 443/udp is for HTTP/3, which is off unless PARACHUTE_HTTP3 is set.
EXPOSE 80 443 443/udp
USER 65532:65532
CMD ["parachute", "run"]
