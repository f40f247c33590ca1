package wedsync.backup;

import io.debezium.connector.postgresql.PostgresValueConverter;
import io.debezium.connector.postgresql.UnchangedToastedReplicationMessageColumn;
import io.debezium.spi.converter.CustomConverter;
import io.debezium.spi.converter.RelationalColumn;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.SQLException;
import java.sql.SQLXML;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.Calendar;
import java.util.GregorianCalendar;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.UUID;
import java.util.stream.Collectors;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.errors.DataException;
import org.postgresql.PGStatement;
import org.postgresql.jdbc.PgArray;
import org.postgresql.util.PGobject;

/**
 * Hands over the text Postgres itself wrote, for every type that Debezium would read in its own way.
 *
 * <p>A streamed value comes from pgoutput, a copied one from the JDBC driver, which therefore must be told
 * {@code binaryTransfer=false}; both must become the very same text. Anything not known to be exact stops the
 * connector: a wrong value is worse than none. The twin of this table is {@code connectors/column_types.py}.
 */
public final class PostgresText implements CustomConverter<SchemaBuilder, RelationalColumn> {

    /** What stands for a large value that an UPDATE did not touch: Debezium's own word for it. */
    private static final String UNAVAILABLE = "__debezium_unavailable_value";

    /**
     * Types whose JSON form is exact already (object ids are the same on every server): bool, bytea, int8, int2,
     * int4, text, oid, float4, float8, bpchar, varchar, timestamptz, numeric.
     */
    private static final Set<Integer> EXACT_ALREADY =
            Set.of(16, 17, 20, 21, 23, 25, 26, 700, 701, 1042, 1043, 1184, 1700);

    private static final int DATE = 1082;

    /** Days that stand for the infinite dates, beyond any date Postgres has: Debezium's own numbers. */
    private static final int INFINITY_DAYS = 2_146_033_979;

    private static final int MINUS_INFINITY_DAYS = -2_147_472_691;

    /** The driver's calendar leaves out ten days that Postgres has, and shows them as the ten that follow. */
    private static final LocalDate DOUBTFUL_FIRST = LocalDate.of(1582, 10, 15);

    private static final LocalDate DOUBTFUL_LAST = LocalDate.of(1582, 10, 24);

    @Override
    public void configure(Properties properties) {
        // Nothing to set: which types are handed over is a matter of what is exact, not of taste.
    }

    @Override
    public void converterFor(RelationalColumn column, ConverterRegistration<SchemaBuilder> registration) {
        if (EXACT_ALREADY.contains(column.nativeType())) {
            return;
        }
        // Optional always: a before-image without its value must not be filled with a made-up one.
        if (column.nativeType() == DATE) {
            registration.register(
                    SchemaBuilder.int32().optional(),
                    value -> value == null || value == column.defaultValue() ? null : days(value, column));
            return;
        }
        registration.register(
                SchemaBuilder.string().optional(),
                value -> value == null || value == column.defaultValue() ? lenient(value) : text(value, column));
    }

    /** A column's default comes here too, for a schema that nobody reads: it must not stop anything. */
    private static String lenient(Object value) {
        return value == null ? null : value.toString();
    }

    private static String text(Object value, RelationalColumn column) {
        if (UnchangedToastedReplicationMessageColumn.isUnchangedToastedValue(value)) {
            return UNAVAILABLE;
        }
        if (value instanceof String || value instanceof UUID || value instanceof PgArray) {
            return value.toString();
        }
        if (value instanceof PGobject object) {
            return object.getValue();
        }
        if (value instanceof BigDecimal money) {
            return money.toPlainString();
        }
        if (value instanceof Instant instant) {
            return timestamp(instant);
        }
        if (value instanceof Map<?, ?> pairs) {
            return hstore(pairs);
        }
        if (value instanceof SQLXML xml) {
            return xml(xml);
        }
        throw unknown(value, column);
    }

    private static DataException unknown(Object value, RelationalColumn column) {
        return new DataException("column " + column.dataCollection() + "." + column.name() + " of type "
                + column.typeName() + " came as " + value.getClass().getName() + ", whose exact value is not known");
    }

    /** Days since 1970 in Postgres' calendar, which has leap years by one rule for all times. */
    private static Integer days(Object value, RelationalColumn column) {
        if (value instanceof LocalDate date) {
            return Math.toIntExact(date.toEpochDay());
        }
        if (value instanceof java.sql.Date date) {
            return copiedDays(date, column);
        }
        throw unknown(value, column);
    }

    /** The driver's date counts the days of old as the Julian calendar did, but its year, month and day are right. */
    private static Integer copiedDays(java.sql.Date date, RelationalColumn column) {
        if (date.getTime() == PGStatement.DATE_POSITIVE_INFINITY) {
            return INFINITY_DAYS;
        }
        if (date.getTime() == PGStatement.DATE_NEGATIVE_INFINITY) {
            return MINUS_INFINITY_DAYS;
        }
        Calendar calendar = new GregorianCalendar();
        calendar.setTime(date);
        int year = calendar.get(Calendar.YEAR);
        LocalDate day = LocalDate.of(
                calendar.get(Calendar.ERA) == GregorianCalendar.BC ? 1 - year : year,
                calendar.get(Calendar.MONTH) + 1,
                calendar.get(Calendar.DAY_OF_MONTH));
        if (!day.isBefore(DOUBTFUL_FIRST) && !day.isAfter(DOUBTFUL_LAST)) {
            throw new DataException("column " + column.dataCollection() + "." + column.name()
                    + " has a date in October 1582 that the driver cannot tell from another");
        }
        return Math.toIntExact(day.toEpochDay());
    }

    /** As Postgres writes it; the infinite ones are told by identity, for their number is a timestamp's, too. */
    private static String timestamp(Instant instant) {
        if (instant == PostgresValueConverter.POSITIVE_INFINITY_INSTANT) {
            return "infinity";
        }
        if (instant == PostgresValueConverter.NEGATIVE_INFINITY_INSTANT) {
            return "-infinity";
        }
        LocalDateTime time = LocalDateTime.ofInstant(instant, ZoneOffset.UTC);
        int year = time.getYear();
        String fraction = time.getNano() == 0 ? "" : String.format(".%06d", time.getNano() / 1000).replaceAll("0+$", "");
        return String.format("%04d-%02d-%02d %02d:%02d:%02d%s%s",
                year > 0 ? year : 1 - year, time.getMonthValue(), time.getDayOfMonth(),
                time.getHour(), time.getMinute(), time.getSecond(), fraction, year > 0 ? "" : " BC");
    }

    private static String xml(SQLXML xml) {
        try {
            return xml.getString();
        } catch (SQLException error) {
            throw new DataException("an xml value could not be read", error);
        }
    }

    /** The driver makes a map of an hstore; Postgres writes its pairs by length of key, then by its bytes. */
    private static String hstore(Map<?, ?> pairs) {
        return pairs.entrySet().stream()
                .sorted((one, other) -> inOrder(bytes(one.getKey()), bytes(other.getKey())))
                .map(pair -> quoted(pair.getKey()) + "=>" + (pair.getValue() == null ? "NULL" : quoted(pair.getValue())))
                .collect(Collectors.joining(", "));
    }

    private static int inOrder(byte[] one, byte[] other) {
        return one.length != other.length ? Integer.compare(one.length, other.length) : Arrays.compareUnsigned(one, other);
    }

    private static byte[] bytes(Object text) {
        return text.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static String quoted(Object text) {
        return '"' + text.toString().replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }
}
