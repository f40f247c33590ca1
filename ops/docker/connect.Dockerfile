# Debezium's own image with our classes in its plugin, built from the same list as the local stack's.
FROM maven:3.9-eclipse-temurin-17 AS build
WORKDIR /build
COPY ops/stack/pom.xml ./
COPY connectors/java sources
RUN mvn --batch-mode --quiet -Djars=/build/jars -Dsources=/build/sources package

# Which Kafka release its Connect comes from is Debezium's choice.
FROM quay.io/debezium/connect:3.7.0.Final
COPY --from=build /build/jars/plugins/debezium-connector-postgres/a-wedsync-converter.jar /kafka/connect/debezium-connector-postgres/
