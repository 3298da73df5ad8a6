# docker build .                    the proxy (the last stage)
# docker build --target backend .   the sample app of examples/backend
# docker build --target kamal .     the proxy in the place of Kamal's

# Another with Go 1.26, such as a mirror's: --build-arg GO_IMAGE=...
ARG GO_IMAGE=golang:1.26
FROM $GO_IMAGE AS build
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

# Kamal calls kamal-proxy, as the user of that name, and mounts a volume with what
# is deployed at its home. 1001 is the user's number in kamal-proxy's own image, so
# that a volume from there can be read.
FROM build AS kamal-files
WORKDIR /out/kamal
RUN mkdir -p etc usr/local/bin && \
    cp /out/parachute usr/local/bin/parachute && \
    ln -s parachute usr/local/bin/kamal-proxy && \
    echo 'kamal-proxy:x:1001:1001::/home/kamal-proxy:/sbin/nologin' >etc/passwd && \
    echo 'kamal-proxy:x:1001:' >etc/group
RUN mkdir -p /out/kamal-home/kamal-proxy/.config/kamal-proxy && \
    chmod 0700 /out/kamal-home/kamal-proxy/.config/kamal-proxy

FROM scratch AS kamal
# The title is what Kamal prunes old images by.
LABEL org.opencontainers.image.title=kamal-proxy \
      org.opencontainers.image.description="A reverse proxy for deploys without downtime, in the place of Kamal's" \
      org.opencontainers.image.licenses=MIT
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=kamal-files /out/kamal/ /
COPY --from=kamal-files --chown=1001:1001 /out/kamal-home/ /home/
COPY --from=build --chown=1001:1001 /out/folders/ /run/
ENV PATH=/usr/local/bin \
    HOME=/home/kamal-proxy \
    PARACHUTE_DATA_DIR=/home/kamal-proxy/.config/kamal-proxy \
    PARACHUTE_SOCKET=/run/parachute/parachute.sock
VOLUME ["/home/kamal-proxy/.config/kamal-proxy"]
EXPOSE 80 443 443/udp
USER kamal-proxy:kamal-proxy
CMD ["kamal-proxy", "run"]

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
