package io.debezium.connector.postgresql.connection.pgoutput;

import io.debezium.connector.postgresql.PostgresType;
import io.debezium.connector.postgresql.TypeRegistry;
import org.postgresql.core.TypeInfo;

/**
 * What the log says of one column, in the place of Debezium's class of this name.
 *
 * <p>Debezium 3.7.0 hands it the name of the type that the live database's column of the same name has <em>now</em>,
 * and reads the row by that: a row written before its column got another type, or another name, stops the connector
 * or is read as what it is not. Here the type is the one that the log names, by its object id. Our jar's name comes
 * before Debezium's in the plugin's folder, so this class is the one that is loaded; a Debezium that expects another
 * constructor fails at its first table, loudly.
 */
public class ColumnMetaData {

    private final String columnName;
    private final PostgresType postgresType;
    private final boolean isKey;
    private final boolean isOptional;
    private final boolean hasDefaultValue;
    private final String defaultValueExpression;
    private final int length;
    private final int scale;
    private final String driverTypeName;

    ColumnMetaData(
            String columnName,
            PostgresType postgresType,
            boolean isKey,
            boolean isOptional,
            boolean hasDefaultValue,
            String defaultValueExpression,
            int modifier,
            String liveTypeName) {
        this.columnName = columnName;
        this.postgresType = postgresType;
        this.isKey = isKey;
        this.isOptional = isOptional;
        this.hasDefaultValue = hasDefaultValue;
        this.defaultValueExpression = defaultValueExpression;
        this.driverTypeName = nameOf(postgresType, liveTypeName);
        TypeInfo told = modifier == TypeRegistry.NO_TYPE_MODIFIER ? null : postgresType.getTypeInfo();
        if (postgresType.isVector()) {
            this.length = modifier;
            this.scale = 0;
        } else if (told != null) {
            this.length = told.getPrecision(postgresType.getOid(), modifier);
            this.scale = told.getScale(postgresType.getOid(), modifier);
        } else {
            this.length = postgresType.getDefaultLength();
            this.scale = postgresType.getDefaultScale();
        }
    }

    /** The live name is of use only where it is the same type's, with the schema it lies in. */
    private static String nameOf(PostgresType type, String liveTypeName) {
        String live = liveTypeName == null ? "" : liveTypeName;
        String bare = live.substring(live.lastIndexOf('.') + 1).replace("\"", "");
        return bare.equals(type.getName()) ? live : type.getName();
    }

    public String getColumnName() {
        return columnName;
    }

    public PostgresType getPostgresType() {
        return postgresType;
    }

    public boolean isKey() {
        return isKey;
    }

    public boolean isOptional() {
        return isOptional;
    }

    public boolean hasDefaultValue() {
        return hasDefaultValue;
    }

    public String getDefaultValueExpression() {
        return defaultValueExpression;
    }

    public int getLength() {
        return length;
    }

    public int getScale() {
        return scale;
    }

    public String getDriverTypeName() {
        return driverTypeName;
    }

    /** The type's name with its length, where it has one of its own. */
    public String getTypeName() {
        if (postgresType.isVector()) {
            return length == TypeRegistry.NO_TYPE_MODIFIER ? driverTypeName : driverTypeName + "(" + length + ")";
        }
        boolean isDefault = length == postgresType.getDefaultLength() && scale == 0;
        return isDefault ? driverTypeName : driverTypeName + "(" + length + "," + scale + ")";
    }
}
